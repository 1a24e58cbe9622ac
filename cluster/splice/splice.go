// Package splice connects two connections with each other.
package splice

import (
	"io"
	"net"
)

// Both copies both ways until both ends have said all, or either is gone. It
// closes both connections.
func Both(a, b net.Conn) {
	done := make(chan struct{}, 2)
	one := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		// The other direction may still have something to say, as after a
		// request that ends its own.
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			half.CloseWrite()
		} else {
			to.Close()
		}
		if err != nil {
			from.Close()
		}
		done <- struct{}{}
	}
	go one(a, b)
	go one(b, a)
	<-done
	<-done
	a.Close()
	b.Close()
}
