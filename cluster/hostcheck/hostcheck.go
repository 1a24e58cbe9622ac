// Package hostcheck tells what the kernel or the host lacks for a cluster server
// or agent, before anything is started.
//
// A need is missing only where it is known that the cluster cannot do without it
// and that it is not there. What cannot be told is a warning, for the same checks
// run before every start. Nothing is loaded, changed or opened for listening.
package hostcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Level says how much a finding matters.
type Level string

const (
	OK      Level = "ok"
	Warning Level = "warning" // the cluster runs, perhaps not as wanted
	Missing Level = "missing" // the cluster cannot run
)

// Finding is the result of one check.
type Finding struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Text  string `json:"text"`         // what was found
	Do    string `json:"do,omitempty"` // what a person can do
}

// Needs say what the machine is for.
type Needs struct {
	Server   bool // control plane
	Etcd     bool // there can be several servers
	Node     bool // runs Pods
	NodeName string
	DataDir  string
	Backend  string // how packets get to other nodes, as --flannel-backend has it
	Policies bool   // network policies are enforced
}

// Host is the machine that is looked at. Zero values are this one.
type Host struct {
	Root    string // of /proc, /sys, /boot and /lib; "" for the machine's own
	UserID  func() int
	Run     func(ctx context.Context, program string, args ...string) (string, error)
	Look    func(program string) error // exec.ErrNotFound where there is none
	Now     func() time.Time
	InSync  func() bool // whether somebody keeps the clock right
	Space   func(dir string) (free int64, fileSystem int64, err error)
	Release func() string // of the kernel, as uname -r says it
}

// complete fills in what is this machine's.
func (h Host) complete() Host {
	if h.UserID == nil {
		h.UserID = os.Geteuid
	}
	if h.Run == nil {
		h.Run = run
	}
	if h.Look == nil {
		h.Look = func(program string) error { _, err := look(program); return err }
	}
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.InSync == nil {
		h.InSync = inSync
	}
	if h.Space == nil {
		h.Space = space
	}
	if h.Release == nil {
		h.Release = kernelRelease
	}
	return h
}

// path is where a path of the host is.
func (h *Host) path(elem ...string) string {
	return filepath.Join(append([]string{"/", h.Root}, elem...)...)
}

// read returns a file's text without white space around it; "" if it cannot be
// read.
func (h *Host) read(elem ...string) string {
	contents, _ := os.ReadFile(h.path(elem...))
	return strings.TrimSpace(string(contents))
}

func (h *Host) exists(elem ...string) bool {
	_, err := os.Stat(h.path(elem...))
	return err == nil
}

// run runs a program and returns all that it says.
func run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	path, err := look(program)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	return string(out), err
}

// look finds a program. Those of administrators are not in everybody's PATH.
func look(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// Check looks at the host. The findings have the order in which they are shown.
func (h Host) Check(ctx context.Context, needs Needs) []Finding {
	h = h.complete()
	var findings []Finding
	add := func(more ...Finding) { findings = append(findings, more...) }
	if needs.Node {
		add(h.root())
		add(h.controlGroups()...)
		add(h.kernel(needs)...)
		add(h.programs(ctx)...)
		add(h.propagation(), h.swap(), h.otherNodes(), h.firewall(), nodeName(needs.NodeName))
	}
	add(h.ports(needs)...)
	add(h.clock()...)
	add(h.memory(needs), h.room(needs.DataDir))
	return findings
}

// Refuse returns an error with all that is missing, or nil.
func Refuse(findings []Finding) error {
	var errs []error
	for _, f := range findings {
		if f.Level == Missing {
			errs = append(errs, errors.New(f.String()))
		}
	}
	return errors.Join(errs...)
}

// String is the finding's line.
func (f Finding) String() string {
	text := fmt.Sprintf("%-8s %s: %s", f.Level, f.Name, f.Text)
	if f.Do != "" {
		text += ": " + f.Do
	}
	return text
}

// WriteText writes one line for each finding.
func WriteText(w io.Writer, findings []Finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes the findings as {"findings": […], "missing": n}.
func WriteJSON(w io.Writer, findings []Finding) error {
	missing := 0
	for _, f := range findings {
		if f.Level == Missing {
			missing++
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Findings []Finding `json:"findings"`
		Missing  int       `json:"missing"`
	}{findings, missing})
}
