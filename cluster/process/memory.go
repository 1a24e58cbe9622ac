package process

import (
	"os"
	"runtime/debug"
)

// garbagePercent is how much a heap may grow between collections. All parts
// have large heaps of which little changes: half of Go's default saves some
// tens of megabytes of a small server and costs an idle one nothing.
const garbagePercent = 50

// SaveMemory makes this process's heap small rather than collection rare,
// unless GOGC says otherwise.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}
