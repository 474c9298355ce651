// Package record keeps typed rows in tables: JSON under string keys, in one bbolt file.
//
//	pier.db
//	├── _schema      version -> number of migrations that have run
//	├── containers   <id>    -> JSON
//	└── images       <id>    -> JSON, and so on: each room owns the tables that it names
//
// A row is written whole or not at all, also by a power cut or on a full disk. Writers that wait at the same time share one
// transaction and one sync; a lone writer begins at once. Rows keep fields that this version does not know only as long
// as nobody rewrites them: change a schema by a Migration.
//
// Locks: DB.mu guards the queue of writers and is never held across disk access; bbolt orders the transactions.
//
// Start reading at Open, then Table.
package record
