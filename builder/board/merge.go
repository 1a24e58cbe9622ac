package board

import "slices"

// With returns the board with what overlays add to it, in their order. The
// board itself stays as it is.
func (b *Board) With(overlays []*Overlay) *Board {
	merged := *b
	merged.Programs = slices.Clone(b.Programs)
	merged.Go = slices.Clone(b.Go)
	merged.Images = slices.Clone(b.Images)
	merged.Firmware = slices.Clone(b.Firmware)
	merged.Kernel.Arguments = slices.Clone(b.Kernel.Arguments)
	merged.Modules.Initramfs = slices.Clone(b.Modules.Initramfs)
	merged.Modules.Root = slices.Clone(b.Modules.Root)
	for _, o := range overlays {
		merged.Programs = append(merged.Programs, o.Programs...)
		merged.Go = append(merged.Go, o.Go...)
		merged.Images = append(merged.Images, o.Images...)
		merged.Firmware = append(merged.Firmware, o.Firmware...)
		merged.Kernel.Arguments = append(merged.Kernel.Arguments, o.Kernel.Arguments...)
		merged.Modules.Initramfs = append(merged.Modules.Initramfs, o.Modules.Initramfs...)
		merged.Modules.Root = append(merged.Modules.Root, o.Modules.Root...)
	}
	slices.Sort(merged.Images)
	merged.Images = slices.Compact(merged.Images)
	return &merged
}
