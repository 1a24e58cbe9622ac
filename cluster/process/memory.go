package process

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// garbagePercent is how much a heap may grow between collections. All parts
	// have large heaps of which little changes: half of Go's default saves some
	// tens of megabytes of a small server and costs an idle one nothing.
	garbagePercent = 50
	// trimInterval is that of Go's own collections in an idle process, which
	// keep the memory they free.
	trimInterval = 2 * time.Minute
)

// SaveMemory makes this process's heap small rather than collection rare,
// unless GOGC says otherwise, and has it give memory that it does not use back
// to the system until ctx ends: what the start took above all.
func SaveMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(garbagePercent)
	go func() {
		ticker := time.NewTicker(trimInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				debug.FreeOSMemory()
			}
		}
	}()
}
