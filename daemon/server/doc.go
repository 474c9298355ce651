// Package server is pierd's edge towards Docker clients: the Engine API over HTTP.
//
// Each resource has one file, and each handler one shape: decode the request, make one typed call into the room below,
// encode the answer. Errors keep their kind until respond.go turns it into a status; what older versions of the API
// looked like is in legacy.go and nowhere else.
//
//	bytes -> accept (recover, version, headers) -> route -> handler -> engine | image | network | volume | build
//	bytes <- legacy shape for the version  <- encode <-------'
//
// The server keeps no state but its connections. It follows the event feed for GET /events and holds no lock.
//
// Start reading at New, then routes.go.
package server
