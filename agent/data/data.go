// Package data prepares the data partition: it adds it to the boot disk at the
// first boot, makes its file system, checks and repairs it, grows it when the
// disk grew, and mounts it.
//
// It promises three things. What a node or somebody else stored is never
// formatted: only a partition that is blank, was added over unallocated space,
// or carries the label of an unfinished file system, unless the node config
// says wipe. The power can fail at any moment, and the next Prepare ends well:
// every write is ordered so that what is on the disk says what was finished. And
// the boot and slot partitions keep their entries in the partition table byte by byte.
//
// What is kept on data is left to others; so is what a node does without it.
package data

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// Label is the label of data's file system once it is complete.
const Label = "skerry-data"

const (
	labelUnfinished = "skerry-new" // until it is complete
	labelPrefix     = "skerry-"
)

const (
	// MinBytes is the least room data is made in.
	MinBytes = 64 << 20
	mib      = 1 << 20
)

// Auto stands for a partition on the disk the node booted from.
const Auto = "auto"

// deviceDeadline is how long a disk named in the node config may take to
// appear, and nodeDeadline how long a partition we told the kernel of.
const (
	deviceDeadline = 30 * time.Second
	nodeDeadline   = 10 * time.Second
)

// Options say what to prepare and with which means.
type Options struct {
	BootDisk   blockdev.Device // the disk of the slot that runs
	Device     string          // Auto, or the node of a disk or partition
	Wipe       bool            // whether foreign contents may be overwritten
	MountPoint string
	Log        *slog.Logger
	// Run runs a program of the image and waits for it, as exec.Cmd.Run does.
	Run func(*exec.Cmd) error
	// Progress is told, in a few words, what takes a while. May be nil.
	Progress func(string)
	// Empty is called once, as soon as it is known that data begins empty: a file
	// system is made, which takes a while. May be nil.
	Empty  func()
	System System // what is asked of the kernel; default [Linux]
}

// Result says what was found and done.
type Result struct {
	Device  string // the node of what is mounted
	Bytes   int64  // size of the partition
	Created bool   // a file system was made: the node starts empty
	Grown   bool   // the partition or its file system became larger
	Checked bool   // e2fsck ran
	// Problem is what a person should know although data is mounted. Empty if all is well.
	Problem string
}

// Prepare finds or makes data and mounts it. When it fails nothing is mounted
// and the error says what the person can do.
func Prepare(ctx context.Context, o Options) (Result, error) {
	if o.System == nil {
		o.System = Linux{}
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Empty == nil {
		o.Empty = func() {}
	}
	o.Empty = sync.OnceFunc(o.Empty)
	if o.Device == "" {
		o.Device = Auto
	}
	p := &preparation{Options: o}
	if err := p.prepare(ctx); err != nil {
		return p.result, fmt.Errorf("prepare data: %w", err)
	}
	p.result.Problem = errText(errors.Join(p.problems...))
	return p.result, nil
}

// preparation is one run of Prepare.
type preparation struct {
	Options
	result   Result
	problems []error
	device   blockdev.Device // the partition, or a whole disk
	fresh    bool            // the partition was added just now
}

func (p *preparation) problem(err error) {
	p.Log.Warn("data", "problem", err)
	p.problems = append(p.problems, err)
}

func (p *preparation) prepare(ctx context.Context) error {
	if err := p.find(ctx); err != nil {
		return err
	}
	p.result.Device, p.result.Bytes = p.device.Node, p.device.SizeBytes
	blocks, err := p.fileSystem(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", p.device.Node, err)
	}
	if err := ctx.Err(); err != nil {
		return err // whoever goes down has counted what is mounted
	}
	if err := p.mount(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.device.Node, err)
	}
	p.growFileSystem(blocks)
	p.Log.Info("data is mounted", "device", p.device.Node, "bytes", p.device.SizeBytes, "created", p.result.Created,
		"grown", p.result.Grown, "checked", p.result.Checked)
	return nil
}

// find sets device.
func (p *preparation) find(ctx context.Context) error {
	if p.Device == Auto {
		return p.onBootDisk(ctx)
	}
	node := filepath.Clean(p.Device)
	var device blockdev.Device
	wait, cancel := context.WithTimeout(ctx, deviceDeadline)
	defer cancel()
	devices, err := p.System.Wait(wait, func(devices []blockdev.Device) bool {
		for _, d := range devices {
			if d.Node == node {
				device = d
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("%s did not appear (%w): attach it, or set storage.data.device in the node config to %q or another disk", node, err, Auto)
	}
	disk := device
	if device.Partition > 0 {
		disk, _ = blockdev.Named(devices, device.Parent)
	}
	if disk.Name == p.BootDisk.Name {
		if device.Partition == 0 || isData(device) {
			return p.onBootDisk(ctx)
		}
		return fmt.Errorf("%s is a partition the node boots from: set storage.data.device in the node config to %q or another disk", node, Auto)
	}
	for _, part := range blockdev.PartitionsOf(devices, device.Name) {
		if part.PartName == partitionName {
			p.device = part
			return nil
		}
	}
	if n := len(blockdev.PartitionsOf(devices, device.Name)); n > 0 && !p.Wipe {
		return fmt.Errorf("%s has %d partitions and none is called %q: name one of them in storage.data.device, or add %s to the node config to have the disk overwritten",
			node, n, partitionName, wipeLine)
	}
	p.device = device
	return nil
}

// wipeLine is what a person adds to the node config.
const wipeLine = `"storage: {data: {wipe: true}}"`

// isData says whether a partition is data: by its name or, in an MBR, which
// has no names, by its number.
func isData(d blockdev.Device) bool {
	return d.PartName == partitionName || d.PartName == "" && d.Partition == partitionNumber
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
