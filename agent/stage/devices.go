package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// namedModules are drivers that nothing asks for by an alias of a device, and
// that nodes need: for images mounted from files, for tunnels, for bridges of
// pods, for buttons.
var namedModules = []string{"loop", "tun", "br_netfilter", "evdev"}

// driversWait bounds how long a driver that hangs holds up the boot.
const driversWait = 30 * time.Second

// modules waits for the drivers without which a node cannot come up, and loads
// what the node config names. The rest is loaded once the node is up.
func (n *node) modules(ctx context.Context) error {
	if n.loader == nil {
		return errors.New("the list of modules could not be read")
	}
	var problem error
	for _, name := range n.config.Kernel.Modules {
		problem = errors.Join(problem, n.loader.Load(ctx, name))
	}
	if !ended(&n.plugged, driversWait) {
		problem = errors.Join(problem, fmt.Errorf("a driver has not ended its start in %v", driversWait))
	}
	if firstMAC(netClass) == nil {
		settle, cancel := context.WithTimeout(ctx, driversWait)
		defer cancel()
		n.settle(settle) // the network may be behind USB
	}
	return problem
}

// coldplug loads drivers for the devices that are wanted now.
func (n *node) coldplug(ctx context.Context) {
	if n.hotplug == nil {
		return
	}
	if err := n.hotplug.Coldplug(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("drivers are missing", "err", err)
	}
}

// settle loads drivers for all devices that have none yet.
func (n *node) settle(ctx context.Context) {
	n.settled.Store(true)
	n.coldplug(ctx)
}

// wanted chooses the devices whose drivers are loaded now: during the boot only
// those that are needed to bring the node up. A screen, a keyboard or a second
// disk can wait, and their drivers take as long to load as all others.
func (n *node) wanted(modalias string) bool { return n.settled.Load() || urgent(modalias) }

// wantedBus says where wanted devices may be: boards without a device tree have
// many platform devices, and none of them is a network card.
func (n *node) wantedBus(bus string) bool {
	switch {
	case n.settled.Load():
		return true
	case bus == "platform":
		_, err := os.Stat("/sys/firmware/devicetree/base/compatible")
		return err == nil
	}
	return slices.Contains([]string{"pci", "virtio", "auxiliary", "vmbus", "xen", "mdio_bus"}, bus)
}

// urgent tells whether a node needs the device in order to come up: its network
// cards, what may lead to one, and the watchdog, which should be armed before
// services start. The disk of the slot is there already. A machine that shows
// no card after these gets drivers for everything at once.
func urgent(modalias string) bool {
	bus, rest, _ := strings.Cut(modalias, ":")
	switch bus {
	case "pci":
		// Network controllers, other peripherals, and the bridge behind which
		// Intel's watchdog is.
		return containsAny(rest, "bc02", "bc08", "bc06sc01")
	case "virtio":
		return strings.HasPrefix(rest, "d00000001v") // network
	case "platform":
		return strings.HasSuffix(rest, "_wdt")
	case "auxiliary", "vmbus", "xen", "of", "mdio": // virtual machines of other makers, and boards whose firmware describes them: nobody can judge
		return true
	}
	return false
}

// diskRank orders devices by how likely they lead to the slot: a virtual
// machine's own, disk controllers, then anything, then USB, where disks take
// longest.
func diskRank(modalias string) int {
	switch {
	case strings.HasPrefix(modalias, "virtio:"), strings.HasPrefix(modalias, "pci:v00001AF4"):
		return 0
	case strings.HasPrefix(modalias, "pci:") && strings.Contains(modalias, "bc01"):
		return 1
	case strings.HasPrefix(modalias, "usb:"), strings.Contains(modalias, "bc0Csc03"):
		return 3
	}
	return 2
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}
