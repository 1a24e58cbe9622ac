//go:build system

// Package tests builds images with the builder's own command, boots them in
// virtual machines and does to them what happens to nodes in the field. It uses
// what an operator has: the console, buttons, the disk while the node is off.
//
// Each file is a family of such events. Nothing here asserts how long a thing
// takes. `make test-system` runs all of it.
package tests

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/containerimage/layouttest"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/release"
	"github.com/skerry-os/skerry/tests/machine"
)

// version is that of the images under test.
const version = "0.0.1-test"

// diskBytes is the size of most disks: the smaller data is, the faster its file
// system is made.
const diskBytes = 2 << 30

// workDir holds all files of a run. It is gone at its end.
var workDir string

// durations says what took how long, for the list at the end.
var durations struct {
	sync.Mutex
	all []duration
}

type duration struct {
	name string
	took time.Duration
}

func TestMain(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "skerry-tests-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		os.RemoveAll(workDir)
		os.Exit(130) // and the kernel ends QEMU
	}()
	code := m.Run()
	os.RemoveAll(workDir)
	slices.SortFunc(durations.all, func(a, b duration) int { return cmp.Compare(b.took, a.took) })
	fmt.Println("slowest:")
	for _, d := range durations.all[:min(10, len(durations.all))] {
		fmt.Printf("  %7.1f s  %s\n", d.took.Seconds(), d.name)
	}
	os.Exit(code)
}

// timed has a test appear in the list of the slowest.
func timed(t *testing.T) {
	t.Helper()
	begin := time.Now()
	t.Cleanup(func() { took(t.Name(), begin) })
}

func took(name string, begin time.Time) {
	durations.Lock()
	defer durations.Unlock()
	durations.all = append(durations.all, duration{name, time.Since(begin)})
}

// image is a release that was built for this run.
type image struct {
	board    string
	dir      string
	manifest *release.Manifest
}

func (i image) file(extension string) string {
	return filepath.Join(i.dir, "skerry-"+version+"-"+i.board+"."+extension)
}

func (i image) path() string { return i.file("img") }

// size returns the size of the disk image in bytes.
func (i image) size(t testing.TB) int64 {
	t.Helper()
	info, err := os.Stat(i.path())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// builderCommand is the builder, compiled from the tree under test.
var builderCommand = sync.OnceValues(func() (string, error) {
	program := filepath.Join(workDir, "builder")
	return program, goCommand("build", runtime.GOARCH, program, "../cmd/builder")
})

// goCommand has the go command compile a program without C for an architecture.
func goCommand(command, architecture, program string, args ...string) error {
	cmd := exec.Command("go", append([]string{command, "-trimpath", "-o", program}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w\n%s", filepath.Base(program), err, out)
	}
	return nil
}

// repository is the root folder of the tree under test.
var repository = sync.OnceValues(func() (string, error) { return builder.FindSource(".") })

// epoch is the time of the images, where git does not say.
var epoch = sync.OnceValue(func() string {
	if given := os.Getenv("SOURCE_DATE_EPOCH"); given != "" {
		return given
	}
	if out, err := exec.Command("git", "log", "-1", "--format=%ct").Output(); err == nil {
		return string(out[:len(out)-1])
	}
	return strconv.FormatInt(time.Now().Unix(), 10)
})

// builds are the images of this run, one a board. They are built when the first
// test asks, with the user's cache.
var builds = func() map[string]func() (image, error) {
	all := map[string]func() (image, error){}
	for _, name := range slices.Concat(ubootBoards, []string{"x86_64", "arm64"}) {
		all[name] = sync.OnceValues(func() (image, error) { return build(name, name, bare...) })
	}
	return all
}()

// ubootBoards are the boards with U-Boot that the repository has.
var ubootBoards = func() (names []string) {
	boards, err := board.List(os.DirFS(".."))
	if err != nil {
		panic(err) // no test can run
	}
	for _, b := range boards {
		if b.Bootloader.Kind == board.BootUBoot {
			names = append(names, b.Name)
		}
	}
	return names
}()

// bare has images without the cluster, which takes minutes to start under
// emulation. Nothing else is left out.
var bare = []string{"--without", "cluster", "--overlay", "heartbeat"}

// clusterBuilds are the images of this run as users get them, one a board, with
// a container image of the user's.
var clusterBuilds = map[string]func() (image, error){
	"x86_64": sync.OnceValues(func() (image, error) { return buildWithCluster("x86_64", "amd64") }),
	"arm64":  sync.OnceValues(func() (image, error) { return buildWithCluster("arm64", "arm64") }),
	"rpi4":   sync.OnceValues(func() (image, error) { return buildWithCluster("rpi4", "arm64") }),
}

func buildWithCluster(board, architecture string) (image, error) {
	layout := filepath.Join(workDir, board+"-images")
	if err := writeLayout(layout, usersImage, architecture); err != nil {
		return image{}, err
	}
	return build(board, board+"-cluster", "--images", layout)
}

// usersImage is what pods call the container image of the user's.
const usersImage = "registry.example/users/first:v1"

// writeLayout makes an OCI image layout with an image that only waits.
func writeLayout(dir, name, architecture string) error {
	program := dir + "-program"
	if err := goCommand("build", architecture, program, "../images/pause"); err != nil {
		return err
	}
	contents, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	return layouttest.Write(dir, name, architecture, contents)
}

// build builds a board's image into a folder of a name.
func build(board, name string, more ...string) (image, error) {
	defer took("build "+name, time.Now())
	i := image{board: board, dir: filepath.Join(workDir, "images", name)}
	program, err := builderCommand()
	if err != nil {
		return i, err
	}
	cmd := exec.Command(program, append([]string{"build", "--board", board, "--version", version, "--output", i.dir}, more...)...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch())
	if out, err := cmd.CombinedOutput(); err != nil {
		return i, fmt.Errorf("builder build --board %s: %w\n%s", board, err, out)
	}
	contents, err := os.ReadFile(i.file("manifest.json"))
	if err != nil {
		return i, err
	}
	i.manifest, err = release.ParseManifest(i.file("manifest.json"), contents)
	return i, err
}

// built returns the image of a board.
func built(t testing.TB, board string) image {
	t.Helper()
	i, err := builds[board]()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// builtWithCluster returns the image of a board as users get it.
func builtWithCluster(t testing.TB, board string) image {
	t.Helper()
	i, err := clusterBuilds[board]()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// flashed returns a disk with a fresh image of a board.
func flashed(t testing.TB, board string) machine.Disk {
	t.Helper()
	return machine.NewDisk(t, workDir, built(t, board).path(), diskBytes)
}

// boot starts the machine of board x86_64 with a disk.
func boot(t testing.TB, d machine.Disk) *machine.Machine {
	t.Helper()
	return machine.Start(t, qemu.Machine{GOARCH: "amd64", Disk: d.Path})
}

var usedMutex sync.Mutex

// used returns a disk whose node was up once and was switched off with its
// power button. Its node config is that of usedConfig.
func used(t testing.TB) machine.Disk {
	t.Helper()
	usedMutex.Lock()
	defer usedMutex.Unlock()
	path := filepath.Join(workDir, "used")
	if _, err := os.Stat(path); err == nil {
		return machine.NewDisk(t, workDir, path, 0)
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	d := flashed(t, "x86_64")
	d.WriteConfig(usedConfig)
	m := boot(t, d)
	m.ExpectUp()
	m.PowerOff()
	if err := os.Rename(d.Path, path); err != nil {
		t.Fatal(err)
	}
	return machine.NewDisk(t, workDir, path, 0)
}

// usedConfig is that of a used disk.
const usedConfig = `apiVersion: skerry.dev/v1alpha1
kind: NodeConfig
hostname: shop-17
`
