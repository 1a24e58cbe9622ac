package modules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// classes of devices that have a modalias and sit on no bus.
var classes = [...]string{"dmi", "input"}

// modaliases calls found with the modalias of every device on a wanted bus; with
// nil for wanted all are. Devices that sit on none go by their class. They are found by
// their bus: a walk through /sys/devices opens thousands of folders, which takes
// seconds on an emulated machine.
func modaliases(sys string, wanted func(bus string) bool, found func([]byte)) error {
	buses, err := os.ReadDir(filepath.Join(sys, "bus"))
	if err != nil {
		return fmt.Errorf("look for devices: %w: is sysfs mounted?", err)
	}
	buffer := make([]byte, 4096) // sysfs gives no more than a page
	for _, bus := range buses {
		if wanted != nil && !wanted(bus.Name()) {
			continue
		}
		if err := devices(filepath.Join(sys, "bus", bus.Name(), "devices"), buffer, found); err != nil {
			return err
		}
	}
	for _, class := range classes {
		if wanted != nil && !wanted(class) {
			continue
		}
		if err := devices(filepath.Join(sys, "class", class), buffer, found); err != nil {
			return err
		}
	}
	return nil
}

func devices(dir string, buffer []byte, found func([]byte)) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for devices: %w", err)
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return fmt.Errorf("look for devices: %w", err)
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name, "modalias"))
		if err != nil {
			continue // most devices of some buses have none, and devices go away
		}
		n, err := io.ReadFull(f, buffer)
		f.Close()
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			continue
		}
		if modalias := bytes.TrimSpace(buffer[:n]); len(modalias) > 0 {
			found(modalias)
		}
	}
	return nil
}
