package registry

// ClientOptions tune a Client.
type ClientOptions struct {
	// Insecure lists hosts ("host" or "host:port") that are spoken to by plain HTTP. Loopback addresses always may be.
	Insecure []string
}

// Client speaks to registries. It is safe for concurrent use.
type Client struct {
	o ClientOptions
}

// NewClient returns a client.
func NewClient(o ClientOptions) *Client { return &Client{o: o} }
