// Package datastore keeps the state of a cluster and serves it to the API
// server in etcd's protocol.
package datastore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// SQLite is a database in one file, for a single server.
type SQLite struct {
	Path   string // of the database
	Socket string // where the API server finds it
}

// parameters of the connection. With a write-ahead log, synchronous=FULL means
// one flush a transaction: what the API server acknowledged survives a power
// cut. NORMAL would lose the last seconds, and a Pod that was told to be
// deleted would be back. The file is compacted by SQLite's own checkpoints;
// kine's, which waits for all readers, has stalled servers for half a minute.
const parameters = "?_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate&_stmt_cache_size=20" +
	"&_kine_disable_startup_vacuum&_kine_disable_compact_wal_checkpoint"

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

// Endpoint is what --etcd-servers takes.
func (s SQLite) Endpoint() string { return "unix://" + s.Socket }

// Run serves the database until ctx ends, and calls ready once it does. It
// returns after the last transaction is on the disk.
func (s SQLite) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.Socket), 0o700); err != nil {
		return err
	}
	// The backend outlives the server that asks it.
	life, end := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer work.Wait()
	defer end()
	_, backend, err := sqlite.New(life, &work, &drivers.Config{
		DataSourceName:   s.Path + parameters,
		CompactInterval:  compactInterval,
		CompactTimeout:   compactTimeout,
		CompactMinRetain: keptRevisions,
		CompactBatchSize: compactBatch,
		PollInterval:     pollInterval,
		PollBatchSize:    pollBatch,
	})
	if err != nil {
		return fmt.Errorf("database %s: %w", s.Path, err)
	}
	if err := backend.Start(life); err != nil {
		return fmt.Errorf("database %s: %w", s.Path, err)
	}
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", s.Socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(s.Socket, 0o600); err != nil {
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
	ready()
	if err := grpcServer.Serve(listener); err != nil {
		return fmt.Errorf("database %s: %w", s.Path, err)
	}
	return nil
}
