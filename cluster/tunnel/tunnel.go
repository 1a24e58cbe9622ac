// Package tunnel has servers reach kubelets through connections that the nodes
// open. Nodes may sit behind address translation, and none of them needs a
// port that others can reach.
//
//	GET /skerry/v1/tunnel, Upgrade: skerry-tunnel/1, with the node's client
//	certificate → 101, then yamux: the server opens a stream for each connection
//	to the kubelet
package tunnel

import (
	"errors"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// Path is where a server takes tunnels.
const Path = "/skerry/v1/tunnel"

const (
	protocol     = "skerry-tunnel/1"
	keepAlive    = 30 * time.Second // finds peers that are gone without a word
	writeTimeout = 10 * time.Second
)

// settings of the multiplexer on both sides.
func settings() *yamux.Config {
	config := yamux.DefaultConfig()
	config.KeepAliveInterval = keepAlive
	config.ConnectionWriteTimeout = writeTimeout
	config.LogOutput = io.Discard // what matters comes back as an error
	return config
}

// errNotConnected is wrapped when a node has no tunnel.
var errNotConnected = errors.New("the node is not connected: is it running, and does it reach this server?")
