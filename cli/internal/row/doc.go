// Package row words what the API tells about containers, images and their use as the lines of tables. The fields of a
// row are what --format templates name, and are docker's.
//
// Start reading at ContainerOf.
package row
