//go:build cluster || system

package clustertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// atATime is how many objects are written at the same time, for a server that
// is killed to be in the middle of some.
const atATime = 4

// Writers write ConfigMaps, one after the other, and remember which of them the
// API server acknowledged.
type Writers struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string
	refusal      error // the last one since an object was acknowledged
}

// refusedPause is how long a writer waits after an object was refused: a server
// that starts has other things to do.
const refusedPause = 50 * time.Millisecond

// Write begins to write into a namespace. Names begin with a prefix, which no
// other writers have.
func Write(ctx context.Context, client kubernetes.Interface, namespace, prefix string) *Writers {
	ctx, stop := context.WithCancel(ctx)
	w := &Writers{stop: stop}
	for worker := range atATime {
		w.running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-w%d-%d", prefix, worker, i)}}
				_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, object, metav1.CreateOptions{})
				w.mu.Lock()
				w.refusal = err
				if err == nil {
					w.acknowledged = append(w.acknowledged, object.Name)
				}
				w.mu.Unlock()
				if err != nil {
					select {
					case <-ctx.Done():
					case <-time.After(refusedPause):
					}
				}
			}
		})
	}
	return w
}

// Count returns how many were acknowledged so far, and why the last one was
// refused if it was.
func (w *Writers) Count() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged), w.refusal
}

// Stop ends the writing and returns the names of all that were acknowledged.
func (w *Writers) Stop() []string {
	w.stop()
	w.running.Wait()
	return w.acknowledged
}

// ExpectAll fails the test for each object that is not among the ConfigMaps there
// are.
func ExpectAll(t testing.TB, are *corev1.ConfigMapList, acknowledged []string) {
	t.Helper()
	there := map[string]bool{}
	for _, object := range are.Items {
		there[object.Name] = true
	}
	for _, name := range acknowledged {
		if !there[name] {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
}
