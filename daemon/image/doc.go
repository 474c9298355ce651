// Package image keeps images: configurations, names, and which layers they stand on.
//
// Start reading at Store.
package image
