// Package flash writes disk images to cards and disks, and describes images
// for other tools that do (bmaptool, Raspberry Pi Imager).
//
// It promises three things. The disk ends up as the image byte for byte, up to
// the image's end and but for the node config: what is data is written, and
// what is zero is cleared where the disk is not zero already. A write that ends
// early, whenever that is, leaves a disk that nothing starts from: the first
// block is made zero before anything else, and is written after all else was
// written, read back and compared, and the node config is in place. And it
// writes to nothing that may be a mistake: see Disk.Check.
//
// What lies behind the image's end is left alone, with two exceptions: a backup
// GPT in the disk's last sector, and the signature of a file system that is not
// a node's where partition data will be.
//
// Reading back bypasses this machine's caches, not those of the disk itself.
package flash
