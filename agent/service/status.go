package service

import "time"

// State of a service.
type State int

const (
	Waiting    State = iota // for what it comes after
	Starting                // its program runs but is not ready
	Ready                   //
	BackingOff              // it failed and is started again at RestartAt
	Failed                  // for good
	Stopping                //
	Stopped                 // on request, or it ended and is not to be restarted
)

func (s State) String() string {
	names := [...]string{"waiting", "starting", "ready", "backing off", "failed", "stopping", "stopped"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Status is what is known of a service at one moment.
type Status struct {
	Name       string
	Main       bool
	State      State
	Text       string    // what the service says itself (STATUS=), or what it waits for
	PID        int       // of the main process; 0 if none runs
	Since      time.Time // when State was entered
	RestartAt  time.Time // when BackingOff ends
	Restarts   int       // starts after the first one
	LastError  string    // why the last run failed, and what it had said, until the service is ready again
	LastOutput []string  // the last lines of the run that failed
}

// finished tells whether nothing more will happen.
func (s Status) finished() bool { return s.State == Failed || s.State == Stopped }
