package datastore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Etcd is a database that several servers keep together: each has all of it
// and a vote. What is acknowledged is on the disks of more than half of them.
//
// The API server of this machine reaches its own member through a socket;
// nothing else may. Members speak to each other with certificates of an
// authority that is there for nothing else.
type Etcd struct {
	Dir    string // of the data
	Socket string // where the API server finds it
	Name   string // of this server
	// API is where others reach this server's API, host:port. It is what the
	// list of members says of each.
	API string
	// Peer is where other members reach this one, host:port.
	Peer string
	// Listen is where it listens for them, host:port.
	Listen string
	// Files; read again for each connection, as they are renewed.
	CA, Certificate, Key string
	// Join asks for a place in a cluster. It is called by a member that has no
	// data, and returns where all members are, this one included, host:port.
	// Without it such a member begins a cluster of its own.
	Join func(ctx context.Context) ([]string, error)

	server atomic.Pointer[etcdserver.EtcdServer]
}

const (
	// The times of raft are for small disks that flush slowly now and then: a
	// leader that is late is not taken for dead at once.
	heartbeat = 500 * time.Millisecond
	election  = 10 * heartbeat
	// quota is where etcd takes no more writes, in bytes. It is far beyond what
	// a cluster needs and what etcd was tested with.
	quota = 8 << 30
	// closeTimeout is how long clients may take to leave. All that was
	// acknowledged is on the disk already.
	closeTimeout = 5 * time.Second
	// keptEntries has a member that was away for a while catch up without
	// copying everything. More cost memory.
	keptEntries = 5000
)

// ErrRemoved is what a server ends with that the others have removed.
var ErrRemoved = errors.New("this server was removed from the cluster")

// Flags are those with which a kube-apiserver finds the database.
func (e *Etcd) Flags() map[string]string { return map[string]string{"etcd-servers": e.endpoint()} }

func (e *Etcd) endpoint() string { return "unix://" + e.Socket }

// Initialized tells whether a member has its data in dir.
func Initialized(dir string) bool { return wal.Exist(filepath.Join(dir, "member", "wal")) }

// Run serves the database until ctx ends, and calls ready once it does: when
// the member has a vote and more than half of the members are there.
func (e *Etcd) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(e.Socket), 0o700); err != nil {
		return err
	}
	level := zap.NewAtomicLevelAt(zap.ErrorLevel)
	config, err := e.settings(ctx, newLog(level))
	if err != nil {
		return err
	}
	member, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("etcd in %s: %w", e.Dir, err)
	}
	defer func() {
		level.SetLevel(zap.PanicLevel) // that listeners were closed is no error now
		// Connections of the API server that stay open make it wait.
		closed := make(chan struct{})
		go func() { member.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(closeTimeout):
		}
	}()
	if err := e.wait(ctx, member, member.Server.ReadyNotify()); err != nil || ctx.Err() != nil {
		return err
	}
	if err := os.Chmod(e.Socket, 0o600); err != nil {
		return err
	}
	e.server.Store(member.Server)
	defer e.server.Store(nil)
	if err := e.wait(ctx, member, voter(ctx, member.Server)); err != nil || ctx.Err() != nil {
		return err
	}
	ready()
	maintenance, stop := context.WithCancel(ctx)
	maintained := make(chan struct{})
	go func() { e.maintain(maintenance, member.Server); close(maintained) }()
	defer func() { stop(); <-maintained }()
	return e.wait(ctx, member, nil)
}

// wait waits until something is closed, ctx ends or the member fails.
func (e *Etcd) wait(ctx context.Context, member *embed.Etcd, until <-chan struct{}) error {
	failed := func(err error) error {
		if !member.Server.IsMemberExist(member.Server.MemberID()) {
			return fmt.Errorf("%w: to have it join again, move %s away and start it with --server and a token", ErrRemoved, e.Dir)
		}
		return errors.Join(fmt.Errorf("etcd in %s ended", e.Dir), err)
	}
	select {
	case <-until:
	case <-ctx.Done():
	case err := <-member.Err():
		return failed(err)
	case <-member.Server.StopNotify():
		return failed(nil)
	}
	return nil
}

// voter is closed when the member has a vote: learners serve nobody.
func voter(ctx context.Context, server *etcdserver.EtcdServer) <-chan struct{} {
	promoted := make(chan struct{})
	go func() {
		for ctx.Err() == nil && server.IsLearner() {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		close(promoted)
	}()
	return promoted
}

// settings are etcd's. What is not named has etcd's own default.
func (e *Etcd) settings(ctx context.Context, log *zap.Logger) (*embed.Config, error) {
	c := embed.NewConfig()
	c.Name, c.Dir = e.Name, e.Dir
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: e.Socket}}
	c.AdvertiseClientUrls = []url.URL{{Scheme: "https", Host: e.API}}
	c.ListenPeerUrls = []url.URL{{Scheme: "https", Host: e.Listen}}
	c.AdvertisePeerUrls = []url.URL{peerURL(e.Peer)}
	c.PeerTLSInfo = transport.TLSInfo{
		CertFile: e.Certificate, KeyFile: e.Key, TrustedCAFile: e.CA, ClientCertAuth: true,
		// A server with several addresses may call from another than the one in
		// its certificate. The authority signs for servers of this cluster only.
		SkipClientSANVerify: true,
	}
	c.TickMs, c.ElectionMs = uint(heartbeat.Milliseconds()), uint(election.Milliseconds())
	c.QuotaBackendBytes = quota
	c.SnapshotCatchUpEntries = keptEntries
	c.MaxRequestBytes = largestRequest
	c.EnableGRPCGateway = false
	// It is the API server that has old revisions forgotten, every five minutes.
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)

	switch {
	case Initialized(e.Dir):
	case e.Join == nil:
		c.InitialCluster = e.Name + "=" + peer(e.Peer)
	default:
		members, err := e.Join(ctx)
		if err != nil {
			return nil, err
		}
		c.ClusterState = embed.ClusterStateFlagExisting
		var all []string
		for i, member := range members {
			name := fmt.Sprintf("member-%d", i) // only the addresses count
			if member == e.Peer {
				name = e.Name
			}
			all = append(all, name+"="+peer(member))
		}
		c.InitialCluster = strings.Join(all, ",")
	}
	return c, nil
}

// newLog is etcd's own log: lines without a time, which whoever keeps them has.
func newLog(level zapcore.LevelEnabler) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		MessageKey: "message", LevelKey: "level", EncodeLevel: zapcore.CapitalLevelEncoder, EncodeDuration: zapcore.StringDurationEncoder,
	})
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), level)).Named("etcd")
}

func peerURL(hostPort string) url.URL { return url.URL{Scheme: "https", Host: hostPort} }

func peer(hostPort string) string {
	u := peerURL(hostPort)
	return u.String()
}

// address is the host:port of a member's URL.
func address(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	u, err := url.Parse(urls[0])
	if err != nil {
		return ""
	}
	return u.Host
}
