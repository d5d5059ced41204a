//! Deletes an object.
//!
//! Nothing of the module's path deletes: only `s3log compact --delete` does, after what replaces a
//! block was read back.

use super::client::{Call, Client, ERROR_BODY};
use super::outcome::Answer;

impl Client {
    /// Deletes the object at `key`. In a bucket that keeps versions, the object gets a delete marker
    /// and its bytes stay.
    ///
    /// # Errors
    /// The answer of an attempt that did not work. An object that is missing already is no error.
    pub fn delete(&self, key: &str) -> Result<(), Answer> {
        let call = Call { key: Some(key), ..Call::get("DELETE", self.options().timeout) };
        let (response, signed) = self.send(call)?;
        match response.status {
            200 | 204 => {
                // Lets the connection go on.
                let _ = response.read(ERROR_BODY);
                Ok(())
            }
            _ => {
                let answer = self.answer(response, &signed);
                if answer.status == Some(404) && answer.code == "NoSuchKey" {
                    return Ok(());
                }
                Err(answer)
            }
        }
    }
}
