package builder

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/progress"
)

func TestAProgramWithSeveralPlacesIsCompiledOnce(t *testing.T) {
	steps, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pause := func(file string, tags ...string) board.GoProgram {
		return board.GoProgram{Package: "./images/pause", File: file, Tags: tags}
	}
	var log bytes.Buffer
	b := &build{
		Options: Options{Source: ".."}, cache: steps, progress: progress.New(&log),
		board: &board.Board{Architecture: "amd64", Go: []board.GoProgram{pause("/usr/bin/first"), pause("/usr/bin/tagged", "netgo")}},
		images: []*board.ContainerImage{
			{Go: []board.GoProgram{pause("/second")}},
			{Go: []board.GoProgram{pause("/other", "osusergo"), pause("/third")}},
		},
	}
	ahead, stop := fingerprintAhead(t.Context())
	defer stop()
	tasks := b.compileTasks(ahead)
	var names []string
	for _, task := range tasks {
		names = append(names, task.Name)
	}
	if want := []string{"first", "tagged", "other"}; !slices.Equal(names, want) {
		t.Errorf("compiled are %v, want %v", names, want)
	}
	if err := b.progress.Run(t.Context(), tasks); err != nil {
		t.Fatal(err)
	}
	first := b.compiled[0].Path
	if info, err := os.Stat(first); err != nil || info.Size() == 0 {
		t.Fatalf("nothing was compiled: %v", err)
	}
	if b.inImages[0][0].Path != first || b.inImages[1][1].Path != first {
		t.Errorf("%s is elsewhere too: %v", first, b.inImages)
	}
	if tagged, other := b.compiled[1].Path, b.inImages[1][0].Path; tagged == first || other == first || tagged == other || other == "" {
		t.Errorf("programs with other tags are %s and %s", tagged, other)
	}
}
