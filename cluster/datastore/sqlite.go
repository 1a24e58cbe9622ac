// Package datastore keeps the state of a cluster and serves it to the API
// server in etcd's protocol.
package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// SQLite keeps the state of a single server in two databases, each in one
// file. Nodes renew their leases every ten seconds and events come all the
// time: on a memory card an idle cluster would write some 800 MB a day of what
// no start needs. They go to a database in memory.
type SQLite struct {
	Path   string // of the database
	Socket string // where the API server finds it
	// Volatile is a folder in memory for the database that a boot empties, and
	// its socket.
	Volatile string
}

// parameters of the connections. The file is compacted by SQLite's own
// checkpoints; kine's, which waits for all readers, has stalled servers for
// half a minute.
const parameters = "?_journal_mode=WAL&_busy_timeout=30000&_txlock=immediate&_stmt_cache_size=64" +
	"&_kine_disable_startup_vacuum&_kine_disable_compact_wal_checkpoint"

// connections are enough for some processors to read at once. Without a bound
// each request that waits has one of its own: under load most of the work was to
// open and close them, and servers with slow processors did not come out of it.
const connections = 10

const (
	// durable is one flush a transaction: what the API server acknowledged
	// survives a power cut. With NORMAL the last seconds would be lost, and a
	// Pod that was told to be deleted would be back.
	durable = parameters + "&_synchronous=FULL"
	// volatile needs none: the file's memory is gone with the power anyway.
	volatile = parameters + "&_synchronous=OFF"
)

// volatileResources are kept in memory: group/resource.
var volatileResources = []string{"coordination.k8s.io/leases", "/events", "events.k8s.io/events"}

// Values of kine and of etcd that the API server's client is tuned for.
const (
	emulatedVersion = "3.6.11"
	compactInterval = 5 * time.Minute
	compactTimeout  = 5 * time.Second
	keptRevisions   = 1000
	compactBatch    = 1000
	pollInterval    = time.Second // writes of this process are noticed at once
	pollBatch       = 500
	notifyInterval  = 5 * time.Second
	largestRequest  = 2 << 20
	stopTimeout     = 2 * time.Second
)

func (s SQLite) volatileSocket() string { return filepath.Join(s.Volatile, "volatile.sock") }

// Flags are those with which a kube-apiserver finds the databases.
func (s SQLite) Flags() map[string]string {
	overrides := make([]string, 0, len(volatileResources))
	for _, resource := range volatileResources {
		overrides = append(overrides, resource+"#unix://"+s.volatileSocket())
	}
	return map[string]string{
		"etcd-servers":           "unix://" + s.Socket,
		"etcd-servers-overrides": strings.Join(overrides, ","),
	}
}

// Run serves the databases until ctx ends. It calls ready when it can be asked:
// requests wait until the databases are open. It returns after the last
// transaction is on the disk.
func (s SQLite) Run(ctx context.Context, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	databases := []database{
		{path: s.Path, parameters: durable, socket: s.Socket},
		{path: filepath.Join(s.Volatile, "volatile.db"), parameters: volatile, socket: s.volatileSocket()},
	}
	var waiting atomic.Int32
	waiting.Store(int32(len(databases)))
	for _, d := range databases {
		group.Go(func() error {
			err := d.run(ctx, func() {
				if waiting.Add(-1) == 0 {
					ready()
				}
			})
			if err != nil {
				return fmt.Errorf("database %s: %w", d.path, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// database is one file, served on a socket.
type database struct{ path, parameters, socket string }

func (d database) run(ctx context.Context, ready func()) (err error) {
	for _, dir := range []string{filepath.Dir(d.path), filepath.Dir(d.socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.Remove(d.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", d.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := os.Chmod(d.socket, 0o600); err != nil {
		return err
	}
	ready()
	db, err := connect(d.path + d.parameters)
	if err != nil {
		return err
	}
	db.SetMaxIdleConns(connections)
	db.SetMaxOpenConns(connections)
	defer func() { err = errors.Join(err, closeAll(db)) }()
	// The backend outlives the server that asks it.
	life, end := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer work.Wait()
	defer end()
	backend, dialect, err := sqlite.NewVariant(life, &work, driverName, &drivers.Config{
		DataSourceName:   d.path + d.parameters,
		CompactInterval:  compactInterval,
		CompactTimeout:   compactTimeout,
		CompactMinRetain: keptRevisions,
		CompactBatchSize: compactBatch,
		PollInterval:     pollInterval,
		PollBatchSize:    pollBatch,
	})
	if err != nil {
		return err
	}
	if err := dialect.DB.Close(); err != nil {
		return err
	}
	dialect.DB = db
	if err := backend.Start(life); err != nil {
		return err
	}
	grpcServer := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.MaxRecvMsgSize(largestRequest),
		grpc.MaxSendMsgSize(1<<31-1),
	)
	server.New(verified{backend}, "unix", notifyInterval, emulatedVersion).Register(grpcServer)
	stop := context.AfterFunc(ctx, func() {
		forced := time.AfterFunc(stopTimeout, grpcServer.Stop)
		defer forced.Stop()
		grpcServer.GracefulStop()
	})
	defer stop()
	if err := grpcServer.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// lastTransaction is how long a card may take for what it was given last.
const lastTransaction = 20 * time.Second

// closeAll returns when each connection of a database is closed. sql.DB.Close
// leaves those that are in use to their users, and kine does not wait for all of
// its own. It is an error if they go on for longer than lastTransaction.
func closeAll(db *sql.DB) error {
	const look = 5 * time.Millisecond
	err := db.Close()
	for range int(lastTransaction / look) {
		if db.Stats().OpenConnections == 0 {
			return err
		}
		time.Sleep(look)
	}
	return errors.Join(err, fmt.Errorf("%d connections are in use %v after the end", db.Stats().OpenConnections, lastTransaction))
}
