package flash

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/skerry-os/skerry/release"
)

// ImagerEntry is an entry of the list of operating systems that Raspberry Pi
// Imager reads (raspberrypi/rpi-imager, doc/json-schema/os-list-schema.json and
// doc/os-sublist-example.json, version 4). There is no init_format: Imager's
// customisation writes files that a Skerry node does not read.
type ImagerEntry struct {
	Name                string         `json:"name"`
	Description         string         `json:"description"`
	URL                 string         `json:"url"`
	Icon                string         `json:"icon"`
	ReleaseDate         string         `json:"release_date"` // as in 2026-11-24
	ExtractSize         int64          `json:"extract_size"`
	ExtractSHA256       release.Digest `json:"extract_sha256"`
	ImageDownloadSize   int64          `json:"image_download_size"`
	ImageDownloadSHA256 release.Digest `json:"image_download_sha256"`
	Devices             []string       `json:"devices"`
	Architecture        string         `json:"architecture"`
}

// imagerDevices are the tags that Imager has for the boards that are
// Raspberry Pis. pi4-64bit stands for the Pi 4, the Pi 400 and the CM4.
var imagerDevices = map[string][]string{"rpi4": {"pi4-64bit"}}

// imagerIcon is a rock in the sea, 40 pixels wide, within the list itself.
const imagerIcon = "data:image/svg+xml;base64," +
	"PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSI0MCIgaGVpZ2h0PSI0MCI+" +
	"PHBhdGggZD0iTTYgMjggMTYgMTBsNiA4IDQtNCA4IDE0eiIgZmlsbD0iIzQ0NSIvPjxwYXRoIGQ9Ik0yIDI4aDM2djZIMnoiIGZpbGw9IiMzOGIiLz48L3N2Zz4="

// ImagerBoard reports whether images for a board are for a Raspberry Pi.
func ImagerBoard(board string) bool { return imagerDevices[board] != nil }

// Imager makes the entry of an image whose map was made with digests.
func (m *Map) Imager(version, board, url string, released time.Time) ImagerEntry {
	return ImagerEntry{
		Name:        fmt.Sprintf("Skerry %s", version),
		Description: "A Kubernetes node, with a read-only system that updates itself",
		URL:         url, Icon: imagerIcon,
		ReleaseDate: released.UTC().Format(time.DateOnly),
		ExtractSize: m.Size, ExtractSHA256: m.SHA256,
		ImageDownloadSize: m.PackedSize, ImageDownloadSHA256: m.PackedSHA256,
		Devices: imagerDevices[board], Architecture: "armv8",
	}
}

// WriteImagerList writes a list with one entry, which Imager takes as a
// repository of its own.
func WriteImagerList(w io.Writer, e ImagerEntry) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		List []ImagerEntry `json:"os_list"`
	}{[]ImagerEntry{e}})
}
