// Package debian gets Debian packages without root and without apt: it reads
// which mirrors the host uses, checks what a mirror publishes, finds the
// packages that are asked for and what they depend on, fetches them into a
// cache and unpacks them.
//
// Trust goes one way, from the archive keyring down: the signature of
// InRelease, the SHA-256 of every Packages index in it, the SHA-256 of every
// .deb in those. A mirror can withhold, but not change anything: bytes that do
// not match are never found under a name in the cache. A record of packages
// made by one build (Package as JSON) is enough for Fetch to repeat it; then
// the record takes the place of the index.
//
// The cache may be shared by builds that run at the same time. Nothing is ever
// changed in it, files appear complete and by rename.
//
// The package never runs maintainer scripts, does not look at Conflicts,
// Recommends or Essential, and leaves it to others which of the unpacked files
// go into an image (packages elfdeps, kernel). It needs the program xz.
//
// Formats: Debian Policy 5 (control files), 7 (relations) and 5.6.12
// (versions); the Debian wiki's DebianRepository/Format; deb(5); sources.list(5).
package debian
