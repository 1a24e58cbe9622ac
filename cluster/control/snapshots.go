package control

import (
	"context"
	"time"

	"github.com/skerry-os/skerry/cluster/snapshot"
)

// takeSnapshots takes snapshots until ctx ends.
func (c *Control) takeSnapshots(ctx context.Context) {
	if c.SnapshotInterval == 0 {
		return
	}
	dir := c.ServerDir(snapshot.Folder)
	source := snapshot.Source{ServerDir: c.ServerDir(), Socket: DatastoreSocket(c.Config)}
	snapshot.Schedule{
		Dir: dir, Every: c.SnapshotInterval, Keep: c.SnapshotKeep, Now: time.Now,
		Save: func(ctx context.Context, how string) (snapshot.Snapshot, error) {
			return source.Save(ctx, dir, how, time.Now())
		},
	}.Run(ctx)
}
