package control

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/notify"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/cluster/restart"
	"github.com/skerry-os/skerry/jointoken"
)

// sharedFiles are those below a server's folder that all servers have.
func sharedFiles() []string {
	files := []string{
		filepath.Join("tls", serviceAccountKey), "encryption.yaml",
		filepath.Join("tokens", jointoken.Agent), filepath.Join("tokens", jointoken.Server),
	}
	for _, name := range authorityNames {
		files = append(files, filepath.Join("tls", name+".crt"), filepath.Join("tls", name+".key"))
	}
	return files
}

// sharedSettings are those that have to be the same on all servers, by flag.
func (c *Control) sharedSettings() map[string]string {
	return map[string]string{
		"cluster-cidr": c.ClusterCIDR, "service-cidr": c.ServiceCIDR, "cluster-dns": c.ClusterDNS, "cluster-domain": c.ClusterDomain,
		"flannel-backend": c.FlannelBackend, "disable": strings.Join(slices.Sorted(slices.Values(c.Disable)), ","),
	}
}

// serverKeys are what another server needs.
func (c *Control) serverKeys() (join.ServerKeys, error) {
	keys := join.ServerKeys{Files: map[string]string{}, Settings: c.sharedSettings()}
	for _, name := range sharedFiles() {
		contents, err := os.ReadFile(c.ServerDir(name))
		if err != nil {
			return join.ServerKeys{}, err
		}
		keys.Files[name] = string(contents)
	}
	return keys, nil
}

const (
	firstJoinPause = time.Second // before a server is asked again
	lastJoinPause  = 10 * time.Second
)

// fetchKeys has a machine that joins another server get what makes it one,
// once. It asks until it is answered, or refused.
func (c *Control) fetchKeys(ctx context.Context) error {
	if c.Server == "" {
		return nil
	}
	given, err := c.TokenValue()
	if err != nil {
		return err
	}
	own, err := c.serverCA()
	if err != nil {
		return err
	}
	if own != nil {
		if parsed, err := jointoken.Parse(given); err == nil && parsed.CA != pki.Digest(own) {
			return fmt.Errorf("this machine has the authorities of another cluster than the token's: to join that one, move %s away", c.ServerDir())
		}
		return nil // it is a server of the cluster already
	}
	if given == "" {
		return errors.New("to join other servers a server needs --token or --token-file: `skerry token --role server` on one of them prints it")
	}
	parsed, err := jointoken.Parse(given)
	if err != nil {
		return err
	}
	if parsed.Role != jointoken.Server {
		return fmt.Errorf("the token is one for role %s: `skerry token --role server` on a server prints one with which machines become servers", parsed.Role)
	}
	c.Progress("joining the servers")
	return c.ask(ctx, func(ctx context.Context) error {
		ca, err := join.FetchCA(ctx, c.Server, parsed)
		if err != nil {
			return err
		}
		keys, err := join.Client{Server: c.Server, CA: ca, Token: given}.AskKeys(ctx)
		if err != nil {
			return err
		}
		return c.takeKeys(keys)
	})
}

// ask asks a server until it is answered or refused. It returns nil if ctx
// ends.
func (c *Control) ask(ctx context.Context, once func(context.Context) error) error {
	var refused error
	tell := notify.Changes("", c.Progress)
	restart.Until(ctx, firstJoinPause, lastJoinPause, func(ctx context.Context) error {
		err := once(ctx)
		if ctx.Err() == nil && errors.Is(err, join.ErrRefused) {
			refused = fmt.Errorf("join %s: %w", c.Server, err)
			return nil
		}
		return err
	}, func(err error, pause time.Duration) {
		slog.Warn("joining the servers", "server", c.Server, "error", err, "again in", pause)
		tell("joining the servers: " + join.Reason(err))
	})
	return refused
}

// takeKeys writes what another server told. The authorities come last and as
// a whole: a machine that has them has all.
func (c *Control) takeKeys(keys join.ServerKeys) error {
	if err := c.compareSettings(keys.Settings); err != nil {
		return err
	}
	const received = "joining"
	if err := os.RemoveAll(c.ServerDir(received)); err != nil {
		return err
	}
	for _, name := range sharedFiles() {
		contents, ok := keys.Files[name]
		if !ok {
			return fmt.Errorf("%w: its answer lacks %s: do both servers run the same release?", join.ErrRefused, name)
		}
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") {
			mode = 0o644
		}
		path := c.ServerDir(name)
		if strings.HasPrefix(name, "tls/") {
			path = c.ServerDir(received, name)
		}
		if err := atomicfile.Write(path, []byte(contents), mode); err != nil {
			return err
		}
	}
	if err := os.Rename(c.ServerDir(received, "tls"), c.ServerDir("tls")); err != nil {
		return err
	}
	return os.RemoveAll(c.ServerDir(received))
}

// compareSettings refuses what would make servers work against each other.
func (c *Control) compareSettings(theirs map[string]string) error {
	own := c.sharedSettings()
	var differences []string
	for _, flag := range slices.Sorted(maps.Keys(own)) {
		if own[flag] != theirs[flag] {
			differences = append(differences, fmt.Sprintf("--%s is %q there and %q here", flag, theirs[flag], own[flag]))
		}
	}
	if len(differences) > 0 {
		return fmt.Errorf("%w: servers need the same settings: %s", join.ErrRefused, strings.Join(differences, "; "))
	}
	return nil
}

// serverCA is the CA of the cluster whose server this is, or nil.
func (c *Control) serverCA() (*x509.Certificate, error) {
	path := c.tls(authorityNames[0] + ".crt")
	contents, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	certificates, err := pki.ParseCertificates(contents)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certificates[0], nil
}

// askPlace asks another server for a place in etcd.
func (c *Control) askPlace(ctx context.Context) (peers []string, err error) {
	given, err := c.TokenValue()
	if err != nil {
		return nil, err
	}
	if given == "" { // a server that lost its datastore alone
		contents, err := os.ReadFile(c.JoinTokenFile(jointoken.Server))
		if err != nil {
			return nil, err
		}
		given = strings.TrimSpace(string(contents))
	}
	client := join.Client{Server: c.Server, CA: c.authorities.server.PEM(), Token: given}
	err = c.ask(ctx, func(ctx context.Context) (err error) {
		peers, err = client.AskPlace(ctx, join.MemberRequest{Name: c.NodeName, Peer: c.peerAddress()})
		return err
	})
	if err == nil && peers == nil {
		err = context.Cause(ctx)
	}
	return peers, err
}

func (c *Control) peerAddress() string {
	return net.JoinHostPort(c.Address, strconv.Itoa(config.PeerPort))
}

func (c *Control) apiAddress() string { return net.JoinHostPort(c.Address, strconv.Itoa(config.Port)) }

// newEtcd is this server's member of etcd.
func (c *Control) newEtcd() *datastore.Etcd {
	e := &datastore.Etcd{
		Dir: datastore.EtcdDir(c.ServerDir()), Socket: DatastoreSocket(c.Config), Name: c.NodeName,
		API: c.apiAddress(), Peer: c.peerAddress(), Listen: net.JoinHostPort("::", strconv.Itoa(config.PeerPort)),
		CA: c.tls(etcdCA + ".crt"), Certificate: c.cred("etcd.crt"), Key: c.cred("etcd.key"),
	}
	if c.Server != "" {
		e.Join = c.askPlace
	}
	return e
}

// servers are where the servers' APIs are, this one's first.
func (c *Control) servers() []string {
	all := []string{c.apiAddress()}
	if c.etcd == nil {
		return all
	}
	members, err := c.etcd.Members()
	if err != nil {
		return all // it is starting
	}
	for _, m := range members {
		if m.API != "" && m.Vote && !slices.Contains(all, m.API) {
			all = append(all, m.API)
		}
	}
	return all
}
