package flash

import (
	"errors"
	"fmt"
	"strings"
)

// Disk is a disk of this machine and what is on it.
type Disk struct {
	Name      string `json:"name"` // the kernel's, as in sdb
	Node      string `json:"node"` // as in /dev/sdb
	Model     string `json:"model,omitempty"`
	Transport string `json:"transport,omitempty"` // usb or mmc, else empty
	Bytes     int64  `json:"bytes"`
	Removable bool   `json:"removable"`
	ReadOnly  bool   `json:"readOnly"`
	System    bool   `json:"system"` // / of this machine is on it
	// Contents of the whole disk, if it has no partitions.
	FileSystem string      `json:"fileSystem,omitempty"`
	Label      string      `json:"label,omitempty"`
	Uses       []string    `json:"uses"` // of the whole disk, as those of a partition
	Partitions []Partition `json:"partitions"`
}

// Partition is a partition of a disk.
type Partition struct {
	Name       string `json:"name"`                 // as in sdb1
	Title      string `json:"title,omitempty"`      // the partition's name in a GPT
	Label      string `json:"label,omitempty"`      // of the file system
	FileSystem string `json:"fileSystem,omitempty"` // as in vfat
	Bytes      int64  `json:"bytes"`
	// Uses says what the partition is busy with, as in "mounted at /media/x",
	// "used as swap", "used by dm-0".
	Uses []string `json:"uses"`
}

// uses returns those of the disk and its partitions.
func (d Disk) uses() []string {
	all := append([]string(nil), d.Uses...)
	for _, p := range d.Partitions {
		all = append(all, p.Uses...)
	}
	return all
}

// Check says why a disk must not be written. What force passes over is what may
// be a mistake; the disk that / is on is never written.
func (d Disk) Check(force bool) error {
	uses := d.uses()
	switch {
	case d.System:
		return errors.New("/ of this machine is on it, so it is not written, whatever the flags: name another disk, or start from another one")
	case d.ReadOnly:
		return errors.New("it is write-protected: move the lock of the card, or use another one")
	case d.Bytes == 0:
		return errors.New("there is no medium in it: put a card in")
	case force:
		return nil
	case len(uses) > 0:
		does := "stop that"
		if strings.HasPrefix(uses[0], "mounted") {
			does = "unmount it"
		}
		return fmt.Errorf("it is %s: %s or pass --force", strings.Join(uses, ", and "), does)
	case !d.Removable:
		return errors.New("it is not removable: if it is the right disk, pass --force; `builder flash IMAGE` lists those that are")
	}
	return nil
}
