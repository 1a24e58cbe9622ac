package node

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/certificates"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/cluster/notify"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// Files of a node. What is in the run folder is asked for anew after a boot.
func (n *Node) keyFile() string         { return n.AgentDir("node.key") }
func (n *Node) serverCAFile() string    { return n.AgentDir("server-ca.crt") }
func (n *Node) run(name string) string  { return n.RunFile("node", name) }
func (n *Node) clientCAFile() string    { return n.run("client-ca.crt") }
func (n *Node) nodeKubeconfig() string  { return n.run("kubelet.kubeconfig") }
func (n *Node) proxyKubeconfig() string { return n.run("proxy.kubeconfig") }
func (n *Node) membershipFile() string  { return n.run("membership.json") }
func (n *Node) servingCertFile() string { return n.run("serving.crt") }
func (n *Node) runKeyFile() string      { return n.run("node.key") }

// NodeKubeconfig is the file with which this machine's own programs speak as
// the node.
func NodeKubeconfig(c *config.Config) string { return c.RunFile("node", "kubelet.kubeconfig") }

const (
	firstPause = 200 * time.Millisecond // before a server is asked again
	lastPause  = 5 * time.Second
	// askOtherEvery is how soon a node notices that the server of another cluster,
	// whose token it has, is there. Each time it is not is a line in the log.
	askOtherEvery = 5 * time.Minute
	// ownPause is the last one of a server's own node: it starts at the same time.
	ownPause = 400 * time.Millisecond
)

// LeaveOtherCluster has the node forget the cluster that it was in if its token is
// of another one, to which a person has moved it, and the server that the person
// named proves to be of that one. Until then the node stays where it is: the token
// may be wrong. Its key stays, and so do volumes.
func (n *Node) LeaveOtherCluster(ctx context.Context) (left bool, err error) {
	if n.Role != config.Agent {
		return false, nil
	}
	given, err := n.token()
	if err != nil {
		return false, nil // joining tells, if it needs one
	}
	token, err := jointoken.Parse(given)
	if err != nil {
		return false, nil // likewise
	}
	kept, err := os.ReadFile(n.serverCAFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	own, damaged := pki.ParseCertificates(kept)
	if damaged == nil && pki.Digest(own[0]) == token.CA {
		return false, nil
	}
	ca, err := join.FetchCA(ctx, n.Server, token)
	if err != nil {
		slog.Warn("the token is not of the cluster that this node is in, and its server cannot be believed", "error", err)
		return false, nil
	}
	// What a boot takes away anyhow, and last what is of no use beside another CA.
	for _, path := range []string{n.nodeKubeconfig(), n.proxyKubeconfig(), n.membershipFile()} {
		if err := removeIfThere(path); err != nil {
			return false, err
		}
	}
	if err := atomicfile.Write(n.serverCAFile(), ca, 0o644); err != nil {
		return false, err
	}
	if damaged != nil {
		slog.Error("the CA that this node believes was damaged, and is learned again", "error", damaged)
		return true, nil
	}
	slog.Warn("the token is of another cluster than the one that this node was in: it leaves that one and joins the other")
	return true, removeIfThere(n.serversFile())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// watchToken ends the node when it has left its cluster: the server of the other
// one may come later than the token.
func (n *Node) watchToken(ctx context.Context) error {
	ticker := time.NewTicker(askOtherEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		left, err := n.LeaveOtherCluster(ctx)
		if err != nil {
			return err
		}
		if left {
			return errMoved
		}
	}
}

// errMoved ends the process: its parts hold on to the cluster that it was in.
var errMoved = errors.New("this node believes another CA now: it starts anew")

// join asks the server for certificates until it has them. A node that was
// restarted while its server is away goes on with those it has.
func (n *Node) join(ctx context.Context) (*join.Response, error) {
	key, err := pki.LoadOrMakeKey(n.keyFile())
	if err != nil {
		return nil, err
	}
	// Kubeconfigs name the key beside the certificates.
	contents, err := os.ReadFile(n.keyFile())
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Write(n.runKeyFile(), contents, 0o600); err != nil {
		return nil, err
	}
	n.Progress("joining the cluster")
	tell := notify.Changes("", n.Progress)
	pause, last := firstPause, lastPause
	if n.Role == config.Server {
		last = ownPause
	}
	for {
		response, err := n.ask(ctx, key)
		if err == nil {
			return response, n.writeMembership(response)
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		// A server's own node waits for the server, which knows what time it is.
		if kept := n.keptMembership(); kept != nil && n.Role != config.Server && !errors.Is(err, join.ErrRefused) {
			slog.Warn("the server does not answer: the node goes on with the certificates it has", "error", err)
			return kept, nil
		}
		if errors.Is(err, join.ErrRefused) {
			pause = lastPause
		}
		if pause >= lastPause/4 { // a server that starts at the same time takes a while
			slog.Warn("joining the cluster", "servers", n.knownServers(), "error", err)
			tell(n.whyNotJoined(err))
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(pause):
		}
		pause = min(pause*3/2, last)
	}
}

// whyNotJoined says why the node is not in the cluster yet.
func (n *Node) whyNotJoined(err error) string {
	const joining = "joining the cluster"
	unreached := n.balancer.Unreached()
	var asked *url.Error
	switch {
	case errors.Is(err, join.ErrRefused) || !errors.As(err, &asked):
		return joining + ": " + err.Error()
	case unreached != nil:
		return joining + ", no server is reached: " + join.Reason(unreached)
	}
	return joining + ", no server answers as it should: " + join.Reason(asked.Err)
}

func (n *Node) ask(ctx context.Context, key crypto.Signer) (*join.Response, error) {
	given, err := n.token()
	if err != nil {
		return nil, err
	}
	ca, err := n.serverCA(ctx, given)
	if err != nil {
		return nil, err
	}
	response, err := join.Client{Server: serverURL, CA: ca, Token: given}.Join(ctx, n.NodeName, []string{n.NodeIP}, key)
	if err != nil {
		return nil, err
	}
	return &response, nil
}

// token is what the node joins with; on a server it is the server's own.
func (n *Node) token() (string, error) {
	if n.Role == config.Server {
		contents, err := os.ReadFile(n.JoinTokenFile(jointoken.Server))
		return strings.TrimSpace(string(contents)), err
	}
	return n.TokenValue()
}

// serverCA is the CA that the node believes. It learns it once, by its token.
func (n *Node) serverCA(ctx context.Context, given string) ([]byte, error) {
	if n.Role == config.Server {
		ca, err := os.ReadFile(n.ServerDir("tls", "server-ca.crt"))
		if err != nil {
			return nil, err
		}
		return ca, atomicfile.Write(n.serverCAFile(), ca, 0o644)
	}
	ca, err := os.ReadFile(n.serverCAFile())
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if given == "" {
		return nil, fmt.Errorf("%w: joining needs --token or --token-file", join.ErrRefused)
	}
	parsed, err := jointoken.Parse(given)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", join.ErrRefused, err)
	}
	if ca, err = join.FetchCA(ctx, serverURL, parsed); err != nil {
		return nil, err
	}
	return ca, atomicfile.Write(n.serverCAFile(), ca, 0o644)
}

func (n *Node) writeMembership(r *join.Response) error {
	for path, contents := range map[string]string{
		n.clientCAFile():     r.ClientCA,
		n.run("kubelet.crt"): r.Kubelet,
		n.run("proxy.crt"):   r.Proxy,
		n.servingCertFile():  r.Serving,
	} {
		if err := atomicfile.Write(path, []byte(contents), 0o644); err != nil {
			return err
		}
	}
	for name, path := range map[string]string{"kubelet": n.nodeKubeconfig(), "proxy": n.proxyKubeconfig()} {
		file := kubeconfig.File{Server: serverURL, ServerName: join.ServerName, CA: n.serverCAFile(), Certificate: n.run(name + ".crt"), Key: n.runKeyFile()}
		if err := file.Write(path); err != nil {
			return err
		}
	}
	contents, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.membershipFile(), contents, 0o600)
}

// keptMembership is what an earlier process was told, while it is valid.
func (n *Node) keptMembership() *join.Response {
	contents, err := os.ReadFile(n.membershipFile())
	if err != nil {
		return nil
	}
	var kept join.Response
	if json.Unmarshal(contents, &kept) != nil {
		return nil
	}
	for _, text := range []string{kept.Kubelet, kept.Proxy, kept.Serving} {
		c, err := pki.ParseCertificates([]byte(text))
		if now := time.Now(); err != nil || now.Before(c[0].NotBefore) || now.After(c[0].NotAfter) {
			return nil
		}
	}
	return &kept
}

// renew asks for new certificates when it is time or somebody asks. The components read the
// files again by themselves.
func (n *Node) renew(ctx context.Context, m *join.Response) error {
	asked, err := certificates.Requests(ctx, n.Config)
	if err != nil {
		return err
	}
	pki.Renew(ctx, ends(m), asked, func() (time.Time, error) {
		key, err := pki.LoadOrMakeKey(n.keyFile())
		if err != nil {
			return time.Time{}, err
		}
		response, err := n.ask(ctx, key)
		if err != nil {
			return time.Time{}, err
		}
		return ends(response), n.writeMembership(response)
	})
	return nil
}

// ends is when a node's certificates do, which are made together. Those that
// cannot be read are of no use already.
func ends(m *join.Response) time.Time {
	c, err := pki.ParseCertificates([]byte(m.Kubelet))
	if err != nil {
		return time.Time{}
	}
	return c[0].NotAfter
}
