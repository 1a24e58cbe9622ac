package addons

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// patience is how many passes a problem may last that time alone can solve: a
// namespace that is being made, a definition that is not served yet.
const patience = 4

// longestMessage is the most that an Event's message may have, in bytes.
const longestMessage = 1024

// report tells people of problems, once each: by a log line and an Event on
// the inventory.
type report struct {
	client kubernetes.Interface
	now    func() time.Time
	passes map[string]int    // that a place has had a problem
	told   map[string]string // of each place
}

func newReport(client kubernetes.Interface) *report {
	return &report{client: client, now: time.Now, passes: map[string]int{}, told: map[string]string{}}
}

// forget has all problems told again that last.
func (r *report) forget() { clear(r.told) }

// problems tells of those that a pass has met.
func (r *report) problems(ctx context.Context, list []problem) {
	seen := map[string]bool{}
	for _, p := range list {
		seen[p.place] = true
		r.passes[p.place]++
		message := p.err.Error()
		if r.told[p.place] == message || mayPass(p.err) && r.passes[p.place] < patience {
			continue
		}
		r.told[p.place] = message
		slog.Error("a manifest is not applied", "manifest", p.place, "error", p.err)
		r.event(ctx, p.place+": "+message)
	}
	for place := range r.passes {
		if seen[place] {
			continue
		}
		if r.told[place] != "" {
			slog.Info("what was wrong with a manifest is over", "manifest", place)
		}
		delete(r.passes, place)
		delete(r.told, place)
	}
}

func isUnknownKind(err error) bool { return errors.Is(err, errUnknownKind) }

// mayPass tells whether time alone can solve a problem.
func mayPass(err error) bool {
	if isUnknownKind(err) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var network interface{ Timeout() bool }
		return errors.As(err, &network)
	}
	return !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err)
}

// event makes an Event, unless the same is there already.
func (r *report) event(ctx context.Context, message string) {
	if len(message) > longestMessage {
		message = strings.ToValidUTF8(message[:longestMessage-3], "") + "..."
	}
	sum := sha256.Sum256([]byte(message))
	now := metav1.NewTime(r.now())
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: inventoryName + "." + hex.EncodeToString(sum[:8]), Namespace: metav1.NamespaceSystem},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "ConfigMap", Namespace: metav1.NamespaceSystem, Name: inventoryName,
		},
		Type: corev1.EventTypeWarning, Reason: "ManifestNotApplied", Message: message,
		Source: corev1.EventSource{Component: manager}, ReportingController: "skerry.dev/addons",
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	_, err := r.client.CoreV1().Events(metav1.NamespaceSystem).Create(ctx, event, metav1.CreateOptions{FieldManager: manager})
	if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
		slog.Warn("an event could not be written", "error", err)
	}
}
