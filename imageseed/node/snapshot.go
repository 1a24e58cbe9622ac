package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// snapshot makes a committed snapshot whose folder is a symbolic link to the
// files of a layer. The kernel follows it when an overlay names it as a lower
// folder, and when it is bind-mounted; a bind mount in its place would have to
// be made again at every start, before containerd looks, and be gone before its
// garbage collector removes the folder.
func (a *application) snapshot(ctx context.Context, chain, files string) error {
	if info, err := os.Stat(files); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is no folder", files)
	}
	service := a.client.SnapshotService(snapshotter)
	info, err := service.Stat(ctx, chain)
	if err == nil {
		// One without the label was unpacked from a registry: it has files of its own.
		if at := info.Labels[seedLabel]; at != "" {
			return link(at, files)
		}
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return err
	}
	if ctx, err = a.lease(ctx); err != nil {
		return err
	}
	key := "skerry-seed-" + chain
	// What an earlier run began is begun again: it may be anything.
	if err := service.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove what was left half made: %w", err)
	}
	mounts, err := service.Prepare(ctx, key, "")
	if err != nil {
		return err
	}
	if len(mounts) != 1 || mounts[0].Type != "bind" || filepath.Base(mounts[0].Source) != "fs" {
		return fmt.Errorf("snapshotter %s made %v and not one folder: it is of another version than this program knows", snapshotter, mounts)
	}
	at := mounts[0].Source
	if err := link(at, files); err != nil {
		return err
	}
	err = service.Commit(ctx, chain, key, snapshots.WithLabels(map[string]string{seedLabel: at}))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// link makes name a symbolic link to target in place of an empty folder or of
// another link, so that it survives a power cut.
func link(name, target string) error {
	old, err := os.Readlink(name)
	if err == nil && old == target {
		return nil
	}
	temporary := name + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	// A folder, which has to be empty, cannot be replaced by a link in one step.
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	// The folder's own name is as new as the link in it.
	return errors.Join(syncDir(filepath.Dir(name)), syncDir(filepath.Dir(filepath.Dir(name))))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
