//! Handles for organizations and cameras.

use std::future::Future;
use std::pin::Pin;

use crate::meter::{CameraId, Error, Meter, OrgId, Organization, Slot};
use crate::proto::v1;

use super::auth::Caller;
use super::columns::handle_of;
use super::trouble::Trouble;

/// Most organizations of one request for handles.
const ORGANIZATIONS_MAX: usize = 1_000;
/// Most cameras of one request for handles.
const CAMERAS_MAX: usize = 10_000;

/// The organizations that a stream opened; the place of each is its handle. A key names few, so there is a bound.
#[derive(Debug, Default)]
pub(super) struct Organizations(Vec<Organization>);

/// Handles on their way.
pub(super) type Opening = Pin<Box<dyn Future<Output = v1::Opened> + Send>>;

impl Organizations {
    /// The organization of a handle.
    pub(super) fn get(&self, handle: u32) -> Option<&Organization> {
        self.0.get(usize::try_from(handle).ok()?)
    }

    /// Opens what is asked for.
    ///
    /// # Errors
    /// When too much is asked for at once.
    pub(super) fn open(&mut self, caller: &Caller, open: v1::Open) -> Result<Opening, Trouble> {
        let cameras: usize = open.organizations.iter().map(|organization| organization.cameras.len()).sum();
        if open.organizations.len() > ORGANIZATIONS_MAX || cameras > CAMERAS_MAX {
            let detail = format!(
                "at most {ORGANIZATIONS_MAX} organizations and {CAMERAS_MAX} cameras are opened at once"
            );
            return Err(Trouble::malformed(detail));
        }
        let found: Vec<_> = open
            .organizations
            .into_iter()
            .map(|asked| self.find(caller, &asked.organization).map(|found| (found, asked.cameras)))
            .collect();
        let meter = caller.meter.clone();
        Ok(Box::pin(async move {
            let mut organizations = Vec::with_capacity(found.len());
            for found in found {
                organizations.push(opened(&meter, found).await);
            }
            v1::Opened { organizations }
        }))
    }

    fn find(&mut self, caller: &Caller, id: &str) -> Result<(u32, Organization), Error> {
        let id = OrgId::new(id)?;
        let known = self.0.iter().position(|organization| *organization.id() == id);
        let place = match known {
            Some(place) => place,
            None => {
                self.0.push(caller.meter.organization(caller.principal(), &id)?);
                self.0.len() - 1
            }
        };
        let handle = u32::try_from(place).expect("a key names few organizations");
        Ok((handle, self.0[place].clone()))
    }
}

async fn opened(
    meter: &Meter,
    found: Result<((u32, Organization), Vec<String>), Error>,
) -> v1::OpenedOrganization {
    let looked_up = match found {
        Ok(((handle, organization), cameras)) => {
            look_up(&organization, &cameras).await.map(|cameras| (handle, cameras))
        }
        Err(error) => Err(error),
    };
    match looked_up {
        Ok((organization, cameras)) => v1::OpenedOrganization { organization, cameras, problem: None },
        Err(error) => {
            let problem = Some(Trouble::from(error).naming_owner(meter).problem());
            v1::OpenedOrganization { problem, ..Default::default() }
        }
    }
}

/// The handles of cameras, in order. An id that no camera can have is that of no camera.
async fn look_up(organization: &Organization, cameras: &[String]) -> Result<Vec<u32>, Error> {
    let ids: Vec<Option<CameraId>> = cameras.iter().map(|camera| CameraId::new(camera).ok()).collect();
    let slots = organization.camera_slots(ids.iter().flatten().cloned().collect()).await?;
    let mut slots = slots.into_iter();
    let slot_of = |id: Option<CameraId>| -> Option<Slot> { id.and_then(|_| slots.next().flatten()) };
    Ok(ids.into_iter().map(slot_of).map(handle_of).collect())
}
