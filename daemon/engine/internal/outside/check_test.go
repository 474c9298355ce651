package outside

import (
	"strings"
	"testing"

	"pier/lib/errkind"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		test  string // words with | between them
		asked string
		host  string // header or "" for another kind
		what  string
		port  uint16
	}{
		{"HTTP|http://:8080/healthz", "GET http://:8080/healthz", "localhost:8080", "/healthz", 8080},
		{"HTTP|:8080/healthz?full=1", "GET :8080/healthz?full=1", "localhost:8080", "/healthz?full=1", 8080},
		{"HTTP|:8080", "GET :8080", "localhost:8080", "/", 8080},
		{"HTTP|http://localhost/", "GET http://localhost/", "localhost", "/", 80},
		{"HTTP|https://[::1]/a/b", "GET https://[::1]/a/b", "[::1]", "/a/b", 443},
		{"HTTP|https://127.0.0.1:8443", "GET https://127.0.0.1:8443", "127.0.0.1:8443", "/", 8443},
		{"HTTP|[::1]:80/", "GET [::1]:80/", "[::1]:80", "/", 80},
		{"TCP|:5432", "TCP :5432", "", "", 5432},
		{"TCP|172.17.0.9:65535", "TCP 172.17.0.9:65535", "", "", 65535},
		{"GRPC|:50051", "GRPC :50051", "", "", 50051},
		{"GRPC|:50051|a.B", "GRPC :50051 a.B", "", "a.B", 50051},
		{"FILE|/run/ready now", "FILE /run/ready now", "", "/run/ready now", 0},
	} {
		c, err := Parse(strings.Split(tt.test, "|"))
		if err != nil || c.asked != tt.asked || c.name != tt.host || c.what != tt.what || c.port != tt.port {
			t.Errorf("%s: %+v, %v", tt.test, c, err)
		}
	}
	for _, other := range []string{"", "NONE", "CMD|HTTP", "CMD-SHELL|x", "ODD|x", "http|:80"} {
		if c, err := Parse(strings.Split(other, "|")); c != nil || err != nil {
			t.Errorf("%q is taken: %+v, %v", other, c, err)
		}
	}
	for test, why := range map[string]string{
		"HTTP": "nothing to ask for", "TCP": "nothing to ask for", "GRPC": "nothing to ask for", "FILE": "nothing to ask for",
		"HTTP|:80|x": "too many words", "GRPC|:80|a|b": "too many words",
		"HTTP|": "an address is a port", "HTTP|/healthz": "an address is a port", "HTTP|8080/": "an address is a port",
		"HTTP|ftp://:80/": "a port is a number", "HTTP|HTTP://:80/": "a port is a number", "HTTP|http:///x": "an address is a port",
		"HTTP|:0/": "a port is a number", "HTTP|:65536/": "a port is a number", "HTTP|:-1/": "a port is a number", "HTTP|:http/": "a port is a number",
		"HTTP|:80/a b": "the path has", "HTTP|:80/a\r\nX: y": "the path has", "HTTP|:80/\x00": "the path has", "HTTP|:80/#x": "the path has", "HTTP|:80/\u00e9": "the path has",
		"HTTP|:80?x": "the path begins", "HTTP|http://a:b@:80/": "a user's name", "HTTP|:80/" + strings.Repeat("x", 3000): "too long",
		"HTTP|http://example.com/": "only the container itself", "HTTP|http://example.com:80/": "only the container itself",
		"HTTP|http://0.0.0.0:80/": "only the container itself", "HTTP|http://[fe80::1%25eth0]:80/": "only the container itself", "TCP|224.0.0.1:80": "only the container itself",
		"TCP|[::ffff:127.0.0.1]:80": "only the container itself", "TCP|host.docker.internal:80": "only the container itself",
		"TCP|": "an address is a port", "TCP|5432": "an address is a port", "TCP|:5432/": "a port is a number", "TCP|::1": "an address is a port", "TCP|unix:/x": "a port is a number",
		"GRPC|:50051|a b": "the service has", "FILE|run/ready": "a path begins", "FILE|": "a path begins", "FILE|/a\x00b": "control characters", "FILE|/a\nb": "control characters",
	} {
		c, err := Parse(strings.Split(test, "|"))
		if c != nil || !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), ": write [") {
			t.Errorf("%q: %+v, %v; want %q", test, c, err, why)
		}
	}
}

func TestElsewhere(t *testing.T) {
	for test, want := range map[string]bool{"HTTP|:80/": false, "HTTP|http://localhost/": false, "TCP|127.0.0.1:1": false, "TCP|[::1]:1": false,
		"TCP|10.0.0.1:1": true, "GRPC|[fd00::1]:1": true, "FILE|/x": false} {
		if c, err := Parse(strings.Split(test, "|")); err != nil || c.Elsewhere() != want {
			t.Errorf("%s: %v", test, err)
		}
	}
}
