// Package link makes network namespaces, bridges, and the pairs of virtual Ethernet devices between them.
//
// A namespace is made on an operating-system thread that a goroutine keeps for itself: unshare, work inside, setns back.
// The pair of devices comes from one RTM_NEWLINK message whose peer is born inside the namespace; a link is never moved
// from one namespace to another and never deleted on the path of a container's start or end, because the kernel waits
// tens of milliseconds for each. Closing the last reference of a namespace removes its pairs, later and in batches.
//
//	Manager ── home: the namespace of the thread that called New
//	   │  up to 4 threads, reused
//	   └─ work(ns, f): setns(ns) → f → setns(home)
//
// PlaceCalls is apart from that: it connects to what listens inside the namespaces of other processes.
//
// Start reading at Manager.
package link
