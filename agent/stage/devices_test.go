package stage

import "testing"

func TestOnlyDevicesThatBringTheNodeUpAreUrgent(t *testing.T) {
	for modalias, want := range map[string]bool{
		"pci:v00008086d000010D3sv0sd0bc02sc00i00":               true, // network
		"pci:v00008086d000025ABsv0sd0bc08sc80i00":               true, // watchdog
		"pci:v00008086d00002918sv0sd0bc06sc01i00":               true, // bridge, behind which iTCO_wdt is
		"platform:iTCO_wdt":                                     true,
		"virtio:d00000001v00001AF4":                             true,  // network
		"of:NethernetT(null)Cbrcm,bcm2711-genet-v5":             true,  // network of a board
		"acpi:LNRO0005:":                                        false, // virtio over memory
		"pci:v00001AF4d00001050sv0sd0bc03sc80i00":               false, // display
		"pci:v00001B36d0000000Dsv0sd0bc0Csc03i30":               false, // USB
		"pci:v00008086d00002922sv0sd0bc01sc06i01":               false, // storage
		"virtio:d00000010v00001AF4":                             false, // display
		"usb:v0627p0001d0000dc00dsc00dp00ic03isc01ip01in00":     false, // keyboard
		"cpu:type:x86,ven0000fam0006mod001A:feature:,0000,0001": false,
		"hid:b0003g0001v00000627p00000001":                      false,
		"acpi:LNXPWRBN:":                                        false,
		"platform:pcspkr":                                       false,
		"platform:efi-framebuffer":                              false,
		"vmbus:635161f83edfc546913ff2d2f965ed0e":                true, // Hyper-V's network
	} {
		if got := urgent(modalias); got != want {
			t.Errorf("%s: urgent is %v", modalias, got)
		}
	}
}

func TestDisksComeBeforeUSB(t *testing.T) {
	order := []string{
		"pci:v00001AF4d00001001sv0sd0bc01sc00i00", "pci:v00008086d00002922sv0sd0bc01sc06i01",
		"pci:v00008086d000010D3sv0sd0bc02sc00i00", "usb:v0627p0001ic08",
	}
	for i := 1; i < len(order); i++ {
		if diskRank(order[i-1]) >= diskRank(order[i]) {
			t.Errorf("%s does not come before %s", order[i-1], order[i])
		}
	}
	if diskRank("virtio:d00000002v00001AF4") != 0 || diskRank("pci:v00001B36d0000000Dsv0sd0bc0Csc03i30") != 3 {
		t.Error("virtio is not first, or USB not last")
	}
}
