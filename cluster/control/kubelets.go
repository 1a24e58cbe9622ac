package control

import (
	"context"
	"net"
	"time"
)

// dialKubelet connects to a kubelet. This machine's own is reached without the
// network, which may change its address meanwhile.
func (c *Control) dialKubelet(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == c.Address || host == c.NodeIP) && !c.DisableAgent {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return dialer.DialContext(ctx, network, address)
}
