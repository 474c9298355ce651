package row

// Context is one line of `context ls`.
type Context struct {
	Current                                  bool
	Description, DockerEndpoint, Error, Name string
}

// ContextHead has the titles.
func ContextHead() Context {
	return Context{Name: "NAME", Description: "DESCRIPTION", DockerEndpoint: "DOCKER ENDPOINT", Error: "ERROR"}
}

// Marked is the row with a star behind the name of the current context.
func (c Context) Marked() Context {
	if c.Current {
		c.Name += " *"
	}
	return c
}
