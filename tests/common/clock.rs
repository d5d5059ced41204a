//! A clock that a test moves.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vmod_s3log::clock::Clock;

/// Wall time is the machine's and `shift` seconds; monotonic time moves only by `sleep`.
#[derive(Debug, Default)]
pub struct Shifted {
    pub shift: i64,
    slept: Mutex<Duration>,
}

impl Shifted {
    pub fn by(shift: i64) -> Self {
        Self { shift, ..Self::default() }
    }
}

impl Clock for Shifted {
    fn unix(&self) -> Duration {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let shift = Duration::from_secs(self.shift.unsigned_abs());
        if self.shift < 0 { real - shift } else { real + shift }
    }

    fn monotonic(&self) -> Duration {
        *self.slept.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        *self.slept.lock().unwrap() += duration;
    }
}
