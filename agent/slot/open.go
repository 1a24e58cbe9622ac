package slot

import (
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/agent/dm"
	"github.com/skerry-os/skerry/verity"
)

// Names of the device-mapper devices of a running node.
const (
	rootName   = "skerry-root"
	linearName = "skerry-slot"
)

// Mapper makes device-mapper devices; *dm.Control does.
type Mapper interface {
	Create(name, uuid string, table []dm.Target, readOnly bool) (dm.Device, error)
	Remove(name string, deferred bool) error
}

// Opened is a slot whose reads are verified.
type Opened struct {
	Node string // the device to mount, "/dev/dm-0"
	// DataDevice is the major:minor of the device under dm-verity, by which
	// the kernel's log names it; see [ParseCorruption].
	DataDevice string
}

// Open puts dm-verity over the root in the slot that was found.
//
// A block that does not verify fails to be read with EIO, and nothing more
// happens. dm-verity could also restart or panic. A running node that did so would
// loop through reboots as soon as something needs the bad block; with EIO it keeps
// doing what it can and says which block is bad. A trial still ends: its bad
// block kills the agent, and with it the kernel, or fails the health gate, and
// either way there is a verdict written by the agent or a dead boot.
//
// Blocks are verified each time they are read (no check_at_most_once):
// otherwise a medium that goes bad, or is changed, after the first read goes
// unnoticed. Hashing is faster than the flash it reads from, even on
// cores without SHA instructions.
func Open(mapper Mapper, found Found, params verity.Params) (Opened, error) {
	partition := fmt.Sprintf("%d:%d", found.Partition.Major, found.Partition.Minor)
	if params.Root%dm.SectorBytes != 0 || params.Tree%verity.BlockSize != 0 {
		return Opened{}, fmt.Errorf("open slot %s: the root at byte %d must start on a sector, its hash tree at byte %d on a block of %d",
			found.Letter, params.Root, params.Tree, verity.BlockSize)
	}
	size := dm.Sectors(params.Sectors())
	data := partition
	if params.Root > 0 {
		// dm-verity has no start offset for data.
		linear, err := mapper.Create(linearName, "", []dm.Target{{
			Length: size, Type: "linear",
			Params: fmt.Sprintf("%s %d", partition, params.Root/dm.SectorBytes),
		}}, true)
		if err != nil {
			return Opened{}, fmt.Errorf("open slot %s on %s: %w", found.Letter, found.Partition, err)
		}
		data = fmt.Sprintf("%d:%d", linear.Major, linear.Minor)
	}
	root, err := mapper.Create(rootName, "", []dm.Target{{
		Length: size, Type: "verity", Params: params.TableParams(data, partition),
	}}, true)
	if err != nil {
		err = fmt.Errorf("open slot %s on %s: %w", found.Letter, found.Partition, err)
		if params.Root > 0 {
			err = errors.Join(err, mapper.Remove(linearName, false))
		}
		return Opened{}, err
	}
	return Opened{Node: root.Node, DataDevice: data}, nil
}
