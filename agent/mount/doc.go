// Package mount mounts: it holds the tables of what the agent's two stages
// mount, the change from the initramfs to the root file system, and the
// programs mount(8) and umount(8) as kubelet, containerd and volume drivers call
// them.
//
// The programs do what util-linux does or fail and say why; an option they do
// not know is never dropped. There is no fstab. In one thing they differ on
// purpose: a remount keeps the flags it does not name, in every form.
// util-linux drops nosuid, nodev and noexec when source and target are both
// given, which is kubelet's form.
//
// Opening the slot and making data are left to packages slot and data.
package mount
