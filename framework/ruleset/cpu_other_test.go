//go:build !linux

package ruleset_test

import "time"

func cpu() time.Duration { return 0 }
