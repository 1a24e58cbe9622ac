package control

import (
	"context"
	"net"
	"time"
)

// dialKubelet connects to the kubelet of a node, of which the API server knows
// the name only: addresses of nodes behind address translation are no good
// here. This machine's own is reached without the network.
func (c *Control) dialKubelet(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if name == c.NodeName && !c.DisableAgent {
		dialer := net.Dialer{Timeout: 10 * time.Second}
		return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}
	return c.tunnels.Dial(ctx, name)
}
