package datastore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// restoredName and restoredPeer are of the member in restored data. The server
// that starts on them tells its own.
const (
	restoredName = "restored"
	restoredPeer = "https://127.0.0.1:2380"
)

// CopyEtcd writes what the member behind a socket has now to a file, which must
// not exist, and returns its revision. The file ends with etcd's own digest.
func CopyEtcd(ctx context.Context, socket, to string) (revision int64, err error) {
	tool := snapshot.NewV3(zap.NewNop())
	if _, err := tool.Save(ctx, clientv3.Config{Endpoints: []string{"unix://" + socket}, Logger: zap.NewNop()}, to); err != nil {
		return 0, fmt.Errorf("etcd at %s: %w", socket, err)
	}
	status, err := tool.Status(to)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", to, err)
	}
	return status.Revision, nil
}

// RestoreEtcd makes the data of a cluster's only member out of a copy. The
// folder must not exist.
func RestoreEtcd(from, dir string) error {
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: from, OutputDataDir: dir,
		Name: restoredName, PeerURLs: []string{restoredPeer}, InitialCluster: restoredName + "=" + restoredPeer, InitialClusterToken: restoredName,
		RevisionBump: revisionGap, MarkCompacted: true,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}
