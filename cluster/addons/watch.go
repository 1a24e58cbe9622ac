package addons

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a folder must be quiet before it is read: programs write
// a file in pieces.
const settle = 300 * time.Millisecond

// poll is how often the folder is read where the kernel does not tell of
// changes.
const poll = 15 * time.Second

// watch tells of changes to the manifests of a folder until ctx ends.
func watch(ctx context.Context, dir string) <-chan struct{} {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(dir); err != nil {
			watcher.Close()
		}
	}
	if err != nil {
		slog.Warn("changes to manifests are noticed late: the kernel does not tell of them", "folder", dir, "every", poll, "error", err)
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(poll):
					tell()
				}
			}
		}()
		return changed
	}
	go func() {
		defer watcher.Close()
		var quiet <-chan time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case event, ok := <-watcher.Events:
				if !ok {
					return
				}
				if isManifest(filepath.Base(event.Name)) && event.Op != fsnotify.Chmod {
					quiet = time.After(settle)
				}
			case _, ok := <-watcher.Errors: // events were lost
				if !ok {
					return
				}
				quiet = time.After(settle)
			case <-quiet:
				quiet = nil
				tell()
			}
		}
	}()
	return changed
}
