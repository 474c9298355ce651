// Package nextjs builds and runs examples/nextjs as a web developer would: the base image is made of Debian's packages,
// yarn reaches the npm registry from inside a RUN step, and a real browser reads the page.
//
// Start reading at TestNextJS.
package nextjs
