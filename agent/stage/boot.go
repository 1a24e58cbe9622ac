package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

// boot is partition boot, open for reading. It is not mounted: nothing on a
// node needs it but the agent, for two small files, and a file system that is
// not mounted is not damaged by the plug being pulled.
type boot struct {
	*fat.FS
	device *os.File
}

func (b boot) Close() error { return b.device.Close() }

// openBoot opens partition boot of the slot's disk.
func (n *node) openBoot() (boot, error) {
	devices, err := blockdev.Sysfs{}.Scan()
	if err != nil {
		return boot{}, err
	}
	for _, d := range blockdev.PartitionsOf(devices, n.Disk.Name) {
		if d.PartName != "boot" && d.Partition != 1 {
			continue
		}
		device, err := os.Open(d.Node)
		if err != nil {
			return boot{}, fmt.Errorf("partition boot, %s: %w", d, err)
		}
		contents, err := fat.Open(device, d.SizeBytes)
		if err != nil {
			device.Close()
			return boot{}, fmt.Errorf("partition boot, %s: %w", d, err)
		}
		return boot{contents, device}, nil
	}
	return boot{}, fmt.Errorf("disk %s has no partition boot", n.Disk.Node)
}

// configOnBoot reads the node config; nothing if there is none. It leaves boot
// open for checkTrial: opening takes longer than reading.
func (n *node) configOnBoot() ([]byte, error) {
	b, err := n.openBoot()
	if err != nil {
		return nil, err
	}
	n.partitionBoot = &b
	return readConfigFile(b)
}

func readConfigFile(boot fs.FS) ([]byte, error) {
	file, err := boot.Open(nodeconfig.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		name, err := mistakenName(boot)
		if err == nil && name != "" {
			err = fmt.Errorf("partition boot has %s and no %s: rename it; a computer that hides the ends of names may show both alike", name, nodeconfig.FileName)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return strictyaml.Read(nodeconfig.FileName, file)
}
