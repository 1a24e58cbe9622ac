// Package progress tells a person what a command is doing: which step, how
// far, how long it took. On a terminal running steps are lines that move;
// elsewhere each finished step is one plain line. Results of a command never
// pass through here: they belong to standard output.
package progress

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Progress shows the steps of one command.
type Progress struct {
	out  io.Writer
	bars *mpb.Progress // nil when out is no terminal
	name lipgloss.Style
	warn lipgloss.Style
	now  func() time.Time
}

// New shows steps on out, which moves and has colours if it is a terminal and
// the environment does not say otherwise (NO_COLOR, TERM=dumb).
func New(out io.Writer) *Progress {
	p := &Progress{out: out, now: time.Now}
	renderer := lipgloss.NewRenderer(out)
	p.name = renderer.NewStyle().Bold(true)
	p.warn = renderer.NewStyle().Foreground(lipgloss.Color("3"))
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithRefreshRate(120*time.Millisecond))
	}
	return p
}

// Discard shows nothing.
func Discard() *Progress { return New(io.Discard) }

// Close ends what moves. The Progress is not used afterwards.
func (p *Progress) Close() {
	if p.bars != nil {
		p.bars.Wait()
	}
}

// Warn prints a line about something that the person should know but that did
// not stop the command.
func (p *Progress) Warn(format string, args ...any) {
	p.line(p.warn.Render("warning:") + " " + fmt.Sprintf(format, args...))
}

func (p *Progress) line(text string) {
	if p.bars != nil {
		fmt.Fprintln(p.bars, text)
		return
	}
	fmt.Fprintln(p.out, text)
}

// Step is one piece of work that is going on.
type Step struct {
	p       *Progress
	name    string
	started time.Time
	bar     *mpb.Bar
	detail  string
	cached  bool
}

// Step starts a step. It ends with End.
func (p *Progress) Step(name string) *Step {
	s := &Step{p: p, name: name, started: p.now()}
	if p.bars != nil {
		s.bar = p.bars.New(0, mpb.SpinnerStyle(), mpb.BarRemoveOnComplete(), mpb.BarWidth(2),
			mpb.PrependDecorators(decor.Name(p.name.Render(name), decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Any(func(st decor.Statistics) string {
				return rate(st.Current, st.Total, p.now().Sub(s.started))
			}), decor.Elapsed(decor.ET_STYLE_GO)))
	}
	return s
}

// rate says how far a step is, how fast it was so far, and how long the rest
// takes if it goes on like that.
func rate(done, total int64, elapsed time.Duration) string {
	if total <= 0 {
		return ""
	}
	text := fmt.Sprintf("%s of %s ", Size(done), Size(total))
	// Of the first moments nothing can be told.
	if elapsed < time.Second || done <= 0 {
		return text
	}
	speed := float64(done) / elapsed.Seconds()
	left := time.Duration(float64(max(total-done, 0)) / speed * float64(time.Second))
	return text + fmt.Sprintf("%s/s, %s left, ", Size(int64(speed)), Duration(max(left, time.Second).Round(time.Second)))
}

// Elapsed returns how long the step has been going on.
func (s *Step) Elapsed() time.Duration { return s.p.now().Sub(s.started) }

// Task is a named piece of work.
type Task struct {
	Name string
	Run  func(context.Context, *Step) error
}

// Run runs tasks in order, each as a step, and ends with the first that fails.
// Its error begins with the task's name, or is that of the context.
func (p *Progress) Run(ctx context.Context, tasks []Task) error {
	for _, task := range tasks {
		step := p.Step(task.Name)
		err := task.Run(ctx, step)
		step.End(err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", task.Name, err)
		}
	}
	return nil
}

// Bytes says how far the step is; total may grow while it runs.
func (s *Step) Bytes(done, total int64) {
	if s.bar != nil {
		s.bar.SetTotal(total, false)
		s.bar.SetCurrent(done)
	}
}

// Detail says what the step was about, in a few words shown behind its name.
func (s *Step) Detail(format string, args ...any) { s.detail = fmt.Sprintf(format, args...) }

// Cached says that nothing had to be done.
func (s *Step) Cached() { s.cached = true }

// End shows the outcome: `name: 1.2 s, detail` or `name: unchanged, detail`.
// A step that failed shows no line: the error that the command ends with does.
func (s *Step) End(err error) {
	if s.bar != nil {
		s.bar.Abort(true)
		s.bar.Wait()
	}
	if err != nil {
		return
	}
	text := s.p.name.Render(s.name+":") + " "
	if s.cached {
		text += "unchanged"
	} else {
		text += Duration(s.p.now().Sub(s.started))
	}
	if s.detail != "" {
		text += ", " + s.detail
	}
	s.p.line(text)
}

// Duration prints a time as people say it: 12 ms, 3.4 s, 2 min 5 s.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

// Size prints a number of bytes in decimal units, as disks are sold.
func Size(bytes int64) string {
	switch {
	case bytes < 1000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	case bytes < 1000_000_000:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(bytes)/1e9)
}
