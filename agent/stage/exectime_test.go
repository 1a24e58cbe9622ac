package stage

import (
	"testing"
	"time"
)

func TestTimeSinceExecIsReadFromTheKernelsLog(t *testing.T) {
	const log = "<6>[    2.437979] Freeing unused kernel memory: 3136K\n" +
		"<6>[    2.467556] Run /init as init process\n" +
		"<7>[    2.467600]   with arguments:\n<7>[    2.467700]     /init\n" +
		"<6>[   12.717556] skerry: initramfs stage\n"
	if got := sinceExec(log).Round(time.Microsecond); got != 10250*time.Millisecond {
		t.Errorf("got %v", got)
	}
	for name, broken := range map[string]string{
		"no times":    "<6>Run /init as init process\n<6>skerry: initramfs stage\n",
		"nothing":     "",
		"only ours":   "<6>[    2.8] skerry: initramfs stage\n",
		"not ours":    "<6>[    2.8] Run /init as init process\n",
		"wrong order": "<6>[    1.0] skerry: initramfs stage\n<6>[    2.0] Run /init as init process\n",
		"no number":   "<6>[    x.0] Run /init as init process\n<6>[    2.0] skerry: initramfs stage\n",
	} {
		if got := sinceExec(broken); got != 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
