package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// open is a SOCKS5 flow to the server, with its first byte sent.
func open(t *target, ask byte) (*net.TCPConn, error) {
	c, reply, err := greet(t, 1, t.origin.addr)
	if err != nil {
		return nil, err
	}
	if reply[1] != 0 {
		c.Close()
		return nil, errors.New("the relay said no")
	}
	_, err = c.Write([]byte{ask})
	return c, err
}

// greet sends a SOCKS5 request and returns the reply of ten bytes.
func greet(t *target, command byte, to string) (*net.TCPConn, [10]byte, error) {
	var reply [10]byte
	conn, err := net.Dial("tcp4", t.addr)
	if err != nil {
		return nil, reply, err
	}
	c := conn.(*net.TCPConn)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	ap := netip.MustParseAddrPort(to)
	ip := ap.Addr().As4()
	c.Write([]byte{5, 1, 0})
	if _, err = io.ReadFull(c, reply[:2]); err == nil {
		c.Write([]byte{5, command, 0, 1, ip[0], ip[1], ip[2], ip[3], byte(ap.Port() >> 8), byte(ap.Port())})
		_, err = io.ReadFull(c, reply[:])
	}
	if err != nil {
		c.Close()
		return nil, reply, err
	}
	return c, reply, nil
}

// bulk is GB per CPU-second of n flows that download for d.
func bulk(t *target, d time.Duration, n int) (float64, error) {
	bytes, cpu, err := pour(t, d, n)
	return float64(bytes) / 1e9 / cpu.Seconds(), err
}

// bulkWall is Gbit per second of the same.
func bulkWall(t *target, d time.Duration, n int) (float64, error) {
	begin := time.Now()
	bytes, _, err := pour(t, d, n)
	return float64(bytes) * 8 / 1e9 / time.Since(begin).Seconds(), err
}

func pour(t *target, d time.Duration, n int) (int64, time.Duration, error) {
	var conns []*net.TCPConn
	for range n {
		c, err := open(t, askPour)
		if err != nil {
			return 0, 1, err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	var total atomic.Int64
	var wg sync.WaitGroup
	begin := t.cpu()
	end := time.Now().Add(d)
	for _, c := range conns {
		wg.Go(func() {
			b := make([]byte, 256<<10)
			for time.Now().Before(end) {
				m, err := c.Read(b)
				total.Add(int64(m))
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return total.Load(), t.cpu() - begin, nil
}

// short is flows per CPU-second through SOCKS5, by n clients at once.
func short(t *target, d time.Duration, n int) (float64, error) {
	return exchange(t, d, n, func() (*net.TCPConn, error) {
		c, _, err := greet(t, 1, t.origin.addr)
		return c, err
	})
}

// connects is short through HTTP CONNECT.
func connects(t *target, d time.Duration, n int) (float64, error) {
	request := []byte("CONNECT " + t.origin.addr + " HTTP/1.1\r\nHost: " + t.origin.addr + "\r\n\r\n")
	return exchange(t, d, n, func() (*net.TCPConn, error) {
		conn, err := net.Dial("tcp4", t.addr)
		if err != nil {
			return nil, err
		}
		c := conn.(*net.TCPConn)
		c.SetDeadline(time.Now().Add(30 * time.Second))
		c.Write(request)
		answer := make([]byte, 512)
		for got := 0; !bytes.HasSuffix(answer[:got], []byte("\r\n\r\n")); {
			m, err := c.Read(answer[got:])
			if got += m; err != nil {
				c.Close()
				return nil, err
			}
		}
		return c, nil
	})
}

// exchange is flows per CPU-second: a dial, one message of 100 bytes there and
// back, and a close, by n clients at once.
func exchange(t *target, d time.Duration, n int, dial func() (*net.TCPConn, error)) (float64, error) {
	var flows atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := t.cpu()
	end := time.Now().Add(d)
	for range n {
		wg.Go(func() {
			b := make([]byte, 100)
			for time.Now().Before(end) {
				c, err := dial()
				if err == nil {
					b[0] = askEcho
					c.Write(b)
					_, err = io.ReadFull(c, b)
					c.SetLinger(0) // ports of this machine are few
					c.Close()
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				flows.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(flows.Load()) / (t.cpu() - begin).Seconds(), nil
}

// packets is packets per CPU-second, there and back, of n associations with 32
// packets of 1,200 bytes under way each.
func packets(t *target, d time.Duration, n int) (float64, error) {
	var count atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	var conns []*net.UDPConn
	for range n {
		c, reply, err := greet(t, 3, "0.0.0.0:0")
		if err != nil {
			return 0, err
		}
		defer c.Close()
		ip := netip.AddrFrom4([4]byte(reply[4:8]))
		if ip.IsUnspecified() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		u, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, binary.BigEndian.Uint16(reply[8:]))))
		if err != nil {
			return 0, err
		}
		defer u.Close()
		conns = append(conns, u)
	}
	begin := t.cpu()
	for _, u := range conns {
		wg.Go(func() { volley(u, t.origin.addr, end, &count) })
	}
	wg.Wait()
	if count.Load() == 0 {
		return 0, errors.New("no packet came back")
	}
	return float64(count.Load()) / (t.cpu() - begin).Seconds(), nil
}

// volley keeps 32 packets under way and counts what the relay carried.
func volley(u *net.UDPConn, to string, end time.Time, count *atomic.Int64) {
	ap := netip.MustParseAddrPort(to)
	ip := ap.Addr().As4()
	out := append([]byte{0, 0, 0, 1, ip[0], ip[1], ip[2], ip[3], byte(ap.Port() >> 8), byte(ap.Port())}, make([]byte, 1200)...)
	in := make([]byte, 64<<10)
	flying := 0
	for time.Now().Before(end) {
		for ; flying < 32; flying++ {
			u.Write(out)
		}
		u.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := u.Read(in); err != nil {
			flying = 0 // lost: loopback drops when a buffer is full
			continue
		}
		flying--
		count.Add(2)
	}
}

// idle is the memory in KiB, or the descriptors, of one of 3,000 idle flows.
func idle(t *target, descriptors bool) (float64, error) {
	const flows = 3000
	measure := t.rssKiB
	if descriptors {
		measure = t.fds
	}
	before, err := measure()
	if err != nil {
		return 0, err
	}
	for range flows {
		c, err := open(t, askHold)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second)
	after, err := measure()
	return (after - before) / flows, err
}
