// Package service starts the node's services, watches them and stops them.
//
// It promises that a service starts once what it comes after is ready, that
// it is started again after a failure with growing pauses, that no process of
// a run outlives it, that a service which stops answering is restarted, and
// that Stop ends in bounded time and in reverse order.
//
// Readiness and watchdog follow sd_notify(3), so that programs written for
// systemd work unchanged. Reaping is left to package pid1, groups to package
// cgroup, and the output of services goes to package logring.
package service

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Restart says when a service that ended by itself is started again.
type Restart string

const (
	Always    Restart = "always"     // the default
	OnFailure Restart = "on-failure" // unless it ended with status 0
	Never     Restart = "never"
)

// Spec describes a service. Zero times take the defaults.
type Spec struct {
	Name    string   `yaml:"name"`
	Command []string `yaml:"command"` // the program by its absolute path, and arguments
	// Environment is all a service gets besides PATH and the variables of
	// sd_notify.
	Environment map[string]string `yaml:"environment,omitempty"`

	// After names services that have to be ready first, or to have ended
	// for good: an order, not a condition.
	After []string `yaml:"after,omitempty"`
	// Requires names services that have to be ready first; if one fails for
	// good before that, so does this one. A service that runs is left alone
	// when one it requires dies: it sees its connection break, and stopping it
	// would only add to the outage.
	Requires []string `yaml:"requires,omitempty"`

	// Notify means that the service says READY=1. Otherwise it is ready as
	// soon as its program runs.
	Notify       bool          `yaml:"notify,omitempty"`
	StartTimeout time.Duration `yaml:"startTimeout,omitempty"` // until READY=1; default 90 s
	StopTimeout  time.Duration `yaml:"stopTimeout,omitempty"`  // from SIGTERM to SIGKILL; default 30 s
	// WatchdogInterval is the longest time without WATCHDOG=1 once ready;
	// 0 means no watchdog.
	WatchdogInterval time.Duration `yaml:"watchdogInterval,omitempty"`
	Restart          Restart       `yaml:"restart,omitempty"`

	MemoryMax      int64 `yaml:"memoryMax,omitempty"` // bytes; 0 means no limit
	PidsMax        int64 `yaml:"pidsMax,omitempty"`   // tasks; 0 means no limit
	OOMScoreAdjust int   `yaml:"oomScoreAdjust,omitempty"`

	// Main marks the service the node exists for.
	Main bool `yaml:"main,omitempty"`
}

// validName tells whether a name can stand in paths and messages. A regular
// expression would cost PID 1 more at start than everything else here.
func validName(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// complete checks a spec and fills in defaults.
func (s Spec) complete() (Spec, error) {
	if !validName(s.Name) {
		return s, fmt.Errorf("service %q: the name must be 1 to 63 lower-case letters, digits and '-'", s.Name)
	}
	if len(s.Command) == 0 || !filepath.IsAbs(s.Command[0]) {
		return s, fmt.Errorf("service %s: the command must start with an absolute path", s.Name)
	}
	for key, value := range s.Environment {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			return s, fmt.Errorf("service %s: environment variable %q is not possible", s.Name, key)
		}
	}
	if s.StartTimeout < 0 || s.StopTimeout < 0 || s.WatchdogInterval < 0 || s.MemoryMax < 0 || s.PidsMax < 0 {
		return s, fmt.Errorf("service %s: times and limits cannot be negative", s.Name)
	}
	if s.WatchdogInterval > 0 && !s.Notify {
		return s, fmt.Errorf("service %s: a watchdog needs a service that notifies", s.Name)
	}
	if s.OOMScoreAdjust < -1000 || s.OOMScoreAdjust > 1000 {
		return s, fmt.Errorf("service %s: oomScoreAdjust %d is not within -1000 and 1000", s.Name, s.OOMScoreAdjust)
	}
	switch s.Restart {
	case "":
		s.Restart = Always
	case Always, OnFailure, Never:
	default:
		return s, fmt.Errorf("service %s: restart %q: use always, on-failure or never", s.Name, s.Restart)
	}
	if s.StartTimeout == 0 {
		s.StartTimeout = 90 * time.Second
	}
	if s.StopTimeout == 0 {
		s.StopTimeout = 30 * time.Second
	}
	return s, nil
}

// environment returns the variables of a run.
func (s Spec) environment(socket string) []string {
	env := map[string]string{"PATH": "/usr/sbin:/usr/bin"}
	maps.Copy(env, s.Environment)
	if s.Notify {
		env["NOTIFY_SOCKET"] = socket
		if s.WatchdogInterval > 0 {
			// WATCHDOG_PID is left out, which means "whoever reads this"
			// (sd_watchdog_enabled(3)): the id is not known before the fork.
			env["WATCHDOG_USEC"] = fmt.Sprint(s.WatchdogInterval.Microseconds())
		}
	}
	var list []string
	for _, key := range slices.Sorted(maps.Keys(env)) {
		list = append(list, key+"="+env[key])
	}
	return list
}
