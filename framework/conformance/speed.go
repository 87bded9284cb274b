package conformance

import (
	"runtime"
	"slices"
	"time"
)

func speedChecks() []check {
	return []check{{"speed/report", reportSpeed}}
}

// reportSpeed says how fast the plugin is here. It passes whatever that is;
// one machine's figures are worth nothing on another.
func reportSpeed(t *trial) {
	o := t.reaching()
	to := t.listen("127.0.0.1:0", echo)
	var took []time.Duration
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50 {
		began := time.Now()
		c := t.connect(o, to)
		took = append(took, time.Since(began))
		c.Close()
	}
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	n := t.volume() / 4
	source := t.listen("127.0.0.1:0", func(c *tcpConn) { pour(c, n, 0) })
	c := t.connect(o, source)
	began := time.Now()
	if _, err := drain(c, n); err != nil {
		t.fatalf("%v", err)
	}
	bits := float64(n) * 8 / time.Since(began).Seconds()
	t.notef("speed: dial %.2f ms at the median and %d allocations of all parties, %.1f Gbit/s down%s",
		float64(took[len(took)/2].Microseconds())/1e3, (after.Mallocs-before.Mallocs)/uint64(len(took)), bits/1e9, packetSpeed(t))
}

// packetSpeed is the time of a packet there and back.
func packetSpeed(t *trial) string {
	if t.noPackets() {
		return ""
	}
	const packets = 500
	o := t.reaching()
	to := t.echoPackets(everyPacket)
	c := t.associate(o, to)
	b := make([]byte, 1200)
	began := time.Now()
	for range packets {
		t.send(c, b, to)
		t.receive(c, to, b)
	}
	return ", packet and answer " + (time.Since(began) / packets).Round(100*time.Nanosecond).String()
}
