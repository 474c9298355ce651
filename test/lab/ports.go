package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
)

// FreePorts returns the first of n ports in a row that nobody uses on 127.0.0.1, neither for TCP nor for UDP. They are none
// of those that the kernel gives to who asks for any, so that nobody comes by one of them by chance.
func FreePorts(t testing.TB, n int) int {
	t.Helper()
	const lowest, narrow = 10000, 20000
	first := narrow
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &first)
	}
	for range 1000 {
		port := lowest + rand.IntN(max(first, narrow)-n-lowest)
		free := true
		for p := port; p < port+n && free; p++ {
			free = isFree(p)
		}
		if free {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func isFree(port int) bool {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	_ = tcp.Close()
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	_ = udp.Close()
	return true
}
