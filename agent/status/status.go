// Package status holds what a node says about itself: its name and addresses,
// the release it runs, how far the boot has come, and what is wrong. Every part
// of the agent writes its own piece through a Recorder; consoles and the node's
// API read snapshots of the whole.
//
// A Recorder is safe for concurrent use, never blocks a writer on a reader, and
// stays small however much is reported. Showing a status is left to others
// (package console), and so is keeping it over a reboot.
package status

import (
	"net/netip"
	"slices"
	"time"
)

// Status is one picture of the node. A zero field is something not known yet.
type Status struct {
	Hostname  string
	Addresses []netip.Prefix // of the node itself, most useful first
	Release   string         // version of the running release
	Board     string         // the board's name, as x86_64 or rpi4
	Slot      string         // "A" or "B"
	Trial     bool           // this boot decides about the release in Slot
	Phase     Phase
	Services  []Service
	Problems  []Problem // one a source, latest first
	NodeID    string
	Boot      uint64 // number of this boot, counted on data from 1

	KernelTime  time.Duration // from the kernel's start to the agent's
	AgentTime   time.Duration // from the agent's start to the node's being up, the waits not included
	NetworkWait time.Duration // spent waiting for the network to answer
	ServiceWait time.Duration // spent waiting for the services to be ready
	AgentMemory int64         // bytes the agent has in memory, its program included

	ClockSynchronised bool
	Data              Data
	Watchdog          string // what guards the node, as "iTCO_wdt, 30 s"; "absent" if nothing does
}

// Phase is a step of the boot.
type Phase struct {
	Name  string
	Index int // from 1
	Count int // phases in all
}

// Service is a supervised program.
type Service struct {
	Name   string
	State  string // as running, starting, failed
	Status string // the last STATUS= the service itself sent
	Main   bool   // the node exists for it
}

// Problem is something that is wrong now.
type Problem struct {
	Source string // the part of the node it is about: a phase, a service, a device
	Text   string // what is wrong and what to do
	Since  time.Time
}

// Data describes the data partition.
type Data struct {
	Device string
	Size   int64 // bytes
	Used   int64 // bytes
}

func (s Status) clone() Status {
	s.Addresses = slices.Clone(s.Addresses)
	s.Services = slices.Clone(s.Services)
	s.Problems = slices.Clone(s.Problems)
	return s
}
